"""This module reads and writes model files: safetensors with the configuration in the header. Every refusal names the file, the
problem and a remedy.
"""

import json
import math
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn as nn
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .errors import CheckpointError, listed

Network = TypeVar("Network", bound=nn.Module)

WEIGHTS = Path(__file__).parent / "weights"
"""The folder of the weights that come with the pack."""


TITLES = {
    "restorer": "restorer of the second generation",
    "estimator": "assessor of the second generation",
    "denoiser": "restorer of the first generation",
    "assessor": "assessor of the first generation",
    "finish": "finish of the first generation",
}
"""What messages call our files, by the word in their headers."""


def titled(kind: str) -> str:
    """Return what messages call a file whose header says ``kind``, which is the word itself for files that are not ours."""
    return TITLES.get(kind, kind)


def check_readable(path: Path) -> None:
    """Raise :class:`CheckpointError` where ``path`` is there but this user may not read it."""
    try:
        with open(path, "rb"):
            return
    except PermissionError:
        raise CheckpointError(f"{path}: permission denied; allow this user to read the file") from None
    except OSError:
        return  # the reader that follows says what is wrong


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Return the JSON object in the file ``path``; :class:`CheckpointError` with the ``remedy`` where there is none."""
    check_readable(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise CheckpointError(f"{path}: cannot be read ({problem.strerror}); {remedy}") from None
    except (ValueError, RecursionError) as problem:
        raise CheckpointError(f"{path}: not JSON ({problem}); {remedy}") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: not a JSON object; {remedy}")
    return found


def header_of(path: Path) -> dict[str, str]:
    """Return the header of a safetensors file, which is empty where it says nothing or the file cannot be read."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError):
        return {}


def kind_in(path: Path) -> str | None:
    """Return what the header of a safetensors file calls it, or None where it says nothing or the file cannot be read."""
    return header_of(path).get("adaqual")


def read(path: Path, kind: str) -> tuple[dict, dict[str, torch.Tensor]]:
    """Return the configuration and tensors of a file whose header says ``kind``; raises :class:`CheckpointError`."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the path of an AdaQual {titled(kind).split()[0]} (.safetensors)")
    check_readable(path)
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            found = header.get("adaqual", "")
            if found != kind:
                what = (
                    f"an AdaQual {titled(found)}"
                    if found
                    else f"not an AdaQual file (it begins with {listed(sorted(file.keys()))})"
                )
                raise CheckpointError(f"{path}: {what}, but an AdaQual {titled(kind)} is needed here; choose another file")
            try:
                config = json.loads(header["config"])
            except (KeyError, ValueError) as problem:
                raise CheckpointError(f"{path}: unreadable configuration ({problem}); download the file again") from None
            return config, {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError) as problem:
        raise CheckpointError(
            f"{path}: not a readable safetensors file ({problem}); it may be truncated: download it again"
        ) from None


def _fits(value: object, default: object, most: int) -> bool:
    """Return whether a value of a configuration is of its default's kind and no whole number in it is above ``most``."""
    if isinstance(default, tuple):
        return isinstance(value, tuple) and len(value) <= most and all(_fits(one, default[0], most) for one in value)
    if isinstance(value, bool) or not isinstance(value, int if isinstance(default, int) else int | float):
        return False
    return 0 <= value <= most if isinstance(default, int) else math.isfinite(value)


def build(path: Path, config: dict, tensors: dict, network: type[Network], config_class: type, operations: Any) -> Network:
    """Return the network of this class with these tensors, float32 on the CPU, in evaluation mode; raises
    :class:`CheckpointError`.
    """
    known = {field.name for field in fields(config_class)}
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: the configuration is no object; the file is damaged: download it again")
    if set(config) != known:
        odd = listed(sorted(set(config) ^ known))
        raise CheckpointError(f"{path}: configuration differs in {odd}; the file is of another version of AdaQual")
    config = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
    # Sizes and counts can be no larger than what lies in the file: a damaged one would build layers for hours.
    most = max([len(tensors), *(side for tensor in tensors.values() for side in tensor.shape)])
    odd = [name for name, value in config.items() if not _fits(value, getattr(config_class(), name), most)]
    if odd:
        raise CheckpointError(
            f"{path}: impossible configuration ({odd[0]}: {config[odd[0]]}); the file is damaged: download it again"
        )
    try:
        with torch.device("meta"):
            model = network(config_class(**config), operations=operations)
    except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError) as problem:
        raise CheckpointError(f"{path}: impossible configuration ({problem}); the file is damaged: download it again") from None
    expected = model.state_dict()
    wrong = {
        key
        for key in set(expected) | set(tensors)
        if key not in expected or key not in tensors or expected[key].shape != tensors[key].shape
    }
    if wrong:
        raise CheckpointError(f"{path}: missing, unexpected or wrongly shaped: {listed(sorted(wrong))}; download it again")
    whole = [key for key, tensor in tensors.items() if not tensor.is_floating_point()]
    if whole:
        raise CheckpointError(
            f"{path}: {whole[0]} holds {tensors[whole[0]].dtype}, no floats; the file is damaged: download it again"
        )
    bad = [key for key, tensor in tensors.items() if not bool(torch.isfinite(tensor.float()).all())]
    if bad:
        raise CheckpointError(f"{path}: NaN or infinity in {listed(sorted(bad))}; the file is damaged: download it again")
    # Copied out of the file's memory, where they lie at odd addresses: the last bit of a product depends on the alignment.
    own = {key: tensor.to(torch.float32, copy=True) for key, tensor in tensors.items()}
    model.load_state_dict(own, assign=True)
    return model.requires_grad_(False).train(False)


def save_model(model: Any, path: Path, notes: dict, dtype: torch.dtype = torch.float32) -> None:
    """Write a model with its configuration and ``notes`` (what the model card says in short), whole or not at all.

    ``model`` is one of our own networks: it has a ``config`` and says in ``file_kind`` what the header calls it. A restorer also
    says of which ``parts`` it consists; all of them lie in the one file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {
        "adaqual": model.file_kind,
        "config": json.dumps(asdict(model.config)),
        "notes": json.dumps(notes),
    }
    if hasattr(model, "parts"):
        header["parts"] = json.dumps(model.parts)
    tensors = {key: value.detach().to("cpu", dtype).contiguous() for key, value in model.state_dict().items()}
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, header)
    os.replace(partial, path)
