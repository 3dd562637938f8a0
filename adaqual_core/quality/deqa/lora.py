"""This module merges the LoRA variant of DeQA-Score, a base model and its adapter, into files of the published layout.

An adapter's folder holds ``adapter_config.json``, the pairs A and B of some linear layers (``adapter_model.safetensors`` or
``.bin``), and whole weights that were trained beside them (``non_lora_trainables.bin`` or ``.safetensors``). A merged weight is W
+ (alpha/r)·B·A.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...errors import CheckpointError
from ...weight_files import check_readable, read_json
from .shards import Shards, open_shards, save_shards

PREFIX = "base_model.model."
WANTED = "give the folder of a LoRA adapter as it was published"


@dataclass(frozen=True)
class Adapter:
    """This class says what an adapter changes.

    ``pairs``: (A [r, in], B [out, r]) by the name of the weight that they change. ``scale``: the factor of B·A. ``whole``:
    weights that replace the base's.
    """

    pairs: dict[str, tuple[Tensor, Tensor]]
    scale: float
    whole: dict[str, Tensor]


def _tensors(folder: Path, name: str, required: bool) -> dict[str, Tensor]:
    """Return the tensors in ``name``.safetensors or ``name``.bin of the folder, on the CPU."""
    path = next((path for kind in (".safetensors", ".bin") if (path := folder / f"{name}{kind}").is_file()), None)
    if path is None:
        if required:
            raise CheckpointError(f"{folder / name}.safetensors: no such file, nor {name}.bin; {WANTED}")
        return {}
    check_readable(path)
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError, UnpicklingError) as problem:
        said = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise CheckpointError(f"{path}: cannot be read ({said}); it may be truncated: download it again") from None
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(f"{path}: holds something else than named tensors; {WANTED}")
    return found


def _bare(key: str) -> str:
    """Return a weight's name in the published layout, without the prefixes of the adapter's library."""
    key = key.removeprefix(PREFIX)
    return key.removeprefix("model.") if key.startswith(("model.model.", "model.lm_head.")) else key


def read_adapter(folder: Path) -> Adapter:
    """Return the adapter in ``folder``; raise :class:`CheckpointError` if it cannot be used."""
    folder = Path(folder)
    source = folder / "adapter_config.json"
    config = read_json(source, WANTED)
    missing = [name for name in ("r", "lora_alpha") if name not in config]
    if missing:
        raise CheckpointError(f"{source}: not a LoRA configuration, {missing[0]} is missing; {WANTED}")
    rank, alpha = config["r"], config["lora_alpha"]
    if not all(isinstance(value, (int, float)) and value > 0 for value in (rank, alpha)):
        raise CheckpointError(f"{source}: r is {rank!r} and lora_alpha {alpha!r}; both must be positive numbers")
    odd = [name for name in ("use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern") if config.get(name)]
    if odd or config.get("bias", "none") != "none":
        raise CheckpointError(f"{source}: {odd[0] if odd else 'bias'} is set, which no DeQA-Score adapter has; {WANTED}")
    halves: dict[str, dict[str, Tensor]] = {}
    whole = {_bare(key): value for key, value in _tensors(folder, "non_lora_trainables", False).items()}
    for key, value in _tensors(folder, "adapter_model", True).items():
        name, mark, half = key.partition(".lora_")
        if mark and half[:2] in ("A.", "B."):
            halves.setdefault(f"{_bare(name)}.weight", {})[half[0]] = value
        else:
            whole[_bare(key.replace(".modules_to_save", ""))] = value
    single = sorted(name for name, pair in halves.items() if set(pair) != {"A", "B"})
    if single or not halves:
        what = f"{single[0]} has only one half of its pair" if single else "holds no LoRA weights"
        raise CheckpointError(f"{folder}: {what}; download it again")
    scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
    return Adapter({name: (pair["A"], pair["B"]) for name, pair in halves.items()}, scale, whole)


def _check(adapter: Adapter, base: Shards, source: Path) -> None:
    """Raise :class:`CheckpointError` unless every weight of the adapter is in the base, in the right shape."""
    for name, value in adapter.whole.items():
        if base.shapes.get(name) != tuple(value.shape):
            raise CheckpointError(
                f"{source}: {name} {list(value.shape)} is {list(base.shapes.get(name, ())) or 'absent'} in {base.origin}; "
                "the adapter belongs to another base model"
            )
    for name, (a, b) in adapter.pairs.items():
        if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1] or base.shapes.get(name) != (b.shape[0], a.shape[1]):
            raise CheckpointError(
                f"{source}: the pair {list(a.shape)}, {list(b.shape)} for {name} does not fit "
                f"{list(base.shapes.get(name, ())) or 'absent'} in {base.origin}; the adapter belongs to another base model"
            )


def _merged(base: Shards, adapter: Adapter) -> Iterator[tuple[str, Tensor]]:
    """Yield every weight of the base, merged where the adapter changes it, one at a time, in the base's types."""
    for file in sorted(set(base.files.values())):
        with safe_open(file, "pt") as opened:
            for key in (key for key, place in base.files.items() if place == file):
                tensor: Tensor = adapter.whole[key] if key in adapter.whole else opened.get_tensor(key)
                if key in adapter.pairs:
                    a, b = adapter.pairs[key]
                    tensor = tensor.float() + adapter.scale * (b.float() @ a.float())
                tensor = tensor.to(base.types[key])
                if not bool(torch.isfinite(tensor).all()):
                    raise CheckpointError(f"{file}: {key} is NaN or infinite after merging; download base and adapter again")
                yield key, tensor


def merge_adapter(base: Path, adapter: Path, out: Path) -> int:
    """Write the model in ``base``, with the adapter in ``adapter`` merged into it, to the new folder ``out``, whole or not at
    all.

    Types and sizes are the base's. One shard and the adapter are held in memory. The number of changed weights is returned.
    :class:`CheckpointError` is raised before anything is written if the files do not belong together.
    """
    out = Path(out)
    if out.exists():
        raise CheckpointError(f"{out}: exists already; remove it or give another name")
    shards, found = open_shards(base), read_adapter(adapter)
    _check(found, shards, Path(adapter))
    config = shards.origin.parent / "config.json"
    if not config.is_file():
        raise CheckpointError(f"{config}: missing; the base model must be a folder with its config.json")
    partial = out.with_name(out.name + ".partial")
    try:
        save_shards(partial, read_json(config, "download it again"), _merged(shards, found))
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return len(found.pairs) + len(found.whole)
