"""This module reads published checkpoints without running code from them, and converts them to safetensors.

Accepted are safetensors, Lightning's .ckpt and WeatherDiffusion's .pth.tar, told apart by content. Pickles are read
with ``weights_only``: one that calls anything but tensor constructors is refused. Every refusal is a CheckpointError
that names the file, the problem and a remedy.
"""

import argparse
import json
import os
import pickle
import re
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..default_dtype import float32_default
from ..errors import CheckpointError
from ..networks.family import Stated
from ..networks.registry import FAMILIES
from ..networks.shipped import SHIPPED_RESTORER
from ..weight_files import check_readable, kind_in, titled
from .detect import detect

AGAIN = "it may be truncated or half-written: download it again"
OURS = {family.name: family.load for family in FAMILIES if family.load is not None}
PUBLISHED = {family.name: family.build for family in FAMILIES if family.build is not None}


@dataclass(frozen=True)
class Published:
    """This class is a published checkpoint: ``tensors`` by the network's own names, and ``patch`` in px where the file states it.

    ``dropped`` says, one line each, what of the file is not among the tensors.
    """

    family: str
    tensors: dict[str, Tensor]
    patch: int | None
    dropped: tuple[str, ...]


def _read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the header and the tensors of a safetensors file."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError) as problem:
        raise CheckpointError(f"{path}: not a readable safetensors file ({problem}); {AGAIN}") from None


def _read_pickle(path: Path) -> dict:
    """Return the mapping in a pickled checkpoint, read with ``weights_only``."""
    zipped = zipfile.is_zipfile(path)
    try:
        if zipped:
            with zipfile.ZipFile(path) as archive:
                if damaged := archive.testzip():
                    raise CheckpointError(f"{path}: damaged (wrong checksum of {damaged}); download it again")
        # WeatherDiffusion's files hold their settings in one; to allow it for the whole process lets no file run code
        torch.serialization.add_safe_globals([argparse.Namespace])
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as problem:
        named = re.search(r"GLOBAL ([\w.]+)|unrecognized function (.+)", str(problem))
        if named:
            raise CheckpointError(
                f"{path}: refused, because loading it would run code ({named[1] or named[2]}); nothing of it was run. "
                "Get the file from its authors, or a safetensors version of it"
            ) from None
        raise CheckpointError(f"{path}: not a readable checkpoint ({str(problem).splitlines()[0]}); {AGAIN}") from None
    except Exception as problem:  # damaged pickles and archives raise almost anything
        said = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise CheckpointError(f"{path}: not a readable checkpoint ({said}); {AGAIN}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, no checkpoint; choose another file")
    return content


def _tensors(value: object) -> dict[str, Tensor]:
    """Return the entries of a mapping that are tensors by name; the result is empty for anything that is no mapping."""
    if not isinstance(value, dict):
        return {}
    return {key: entry for key, entry in value.items() if isinstance(key, str) and isinstance(entry, Tensor)}


def _bare(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without the prefix of DataParallel, if every key has it."""
    if all(key.startswith("module.") for key in tensors):
        return {key.removeprefix("module."): value for key, value in tensors.items()}
    return tensors


def _stated_patch(config: object) -> int | None:
    """Return ``config.data.image_size`` of a WeatherDiffusion training, from namespaces or mappings, or None."""
    for name in ("data", "image_size"):
        config = config.get(name) if isinstance(config, dict) else getattr(config, name, None)
    return config if isinstance(config, int) else None


def _unpack(content: dict) -> tuple[dict[str, Tensor], int | None, list[str]]:
    """Return the weights, the stated patch size and what was dropped, of an unpickled checkpoint of one of the accepted forms."""
    weights, average = _bare(_tensors(content.get("state_dict"))), _bare(_tensors(content.get("ema_helper")))
    if not weights and not average:
        return _tensors(content), None, [key for key, value in content.items() if not isinstance(value, Tensor)]
    dropped = [str(key) for key in content if key not in ("state_dict", "ema_helper")]
    if average and weights:
        kept = sum(key not in average for key in weights)
        rest = f", except {kept} tensors that it lacks" if kept else ""
        dropped.append(f"state_dict ({len(weights) - kept} tensors: their moving average, ema_helper, is used{rest})")
    return {**weights, **average}, _stated_patch(content.get("config")), dropped


def _must_differ_from_zero(name: str, value: Tensor) -> bool:
    """Return whether this tensor is the weight of a layer, which training never leaves at zero. Gates, biases and the prompt
    module start from zero and may have stayed there.
    """
    return name.endswith(".weight") and value.ndim >= 2 and not name.startswith("prompt_pool.")


def read_published(path: Path) -> Published:
    """Return the published checkpoint in ``path``, as stored and on the CPU; raises :class:`CheckpointError`."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the path of a checkpoint")
    check_readable(path)
    with path.open("rb") as file:
        start = file.read(9)
    if not start:
        raise CheckpointError(f"{path}: empty file; {AGAIN}")
    dropped: list[str] = []
    if start[:2] == b"PK" or start[:1] == b"\x80":
        tensors, patch, dropped = _unpack(_read_pickle(path))
    elif start[8:] == b"{":
        header, tensors = _read_safetensors(path)
        patch = int(header["patch"]) if header.get("patch", "").isdecimal() else None
    elif tarfile.is_tarfile(path):
        raise CheckpointError(f"{path}: a tar archive, no checkpoint; unpack it and choose the file inside")
    else:
        raise CheckpointError(f"{path}: not a readable safetensors file, and no PyTorch checkpoint; {AGAIN}")
    try:
        found = detect({key: tuple(value.shape) for key, value in tensors.items()})
    except CheckpointError as problem:
        raise CheckpointError(f"{path}: {problem}") from None
    groups: dict[str, int] = {}
    for key in found.ignored:
        name = ".".join(part for part in key.split(".")[:2] if part != "model").split(".")[0]
        groups[name] = groups.get(name, 0) + 1
    dropped += [f"{name}.* ({count} tensors that the network does not use)" for name, count in groups.items()]
    kept = {name: tensors[key] for name, key in found.keys.items()}
    odd = [
        name
        for name, value in kept.items()
        if not value.is_floating_point() or value.layout != torch.strided or value.device.type != "cpu"
    ]
    if odd:
        what = f"{kept[odd[0]].dtype}, {kept[odd[0]].layout} on {kept[odd[0]].device}"
        raise CheckpointError(f"{path}: {odd[0]} is {what}, no stored floats; download it again")
    bad = [name for name, value in kept.items() if not bool(torch.isfinite(value.float()).all())]
    if bad:
        raise CheckpointError(f"{path}: NaN or infinity in {bad[0]}; the file is damaged: download it again")
    blank = [name for name, value in kept.items() if _must_differ_from_zero(name, value) and not bool(value.any())]
    if blank:
        raise CheckpointError(f"{path}: {blank[0]} holds nothing but zeros; the file is half-written: download it again")
    return Published(found.family, kept, patch, tuple(dropped))


def convert(source: Path, target: Path) -> Published:
    """Write the network's weights of the checkpoint ``source`` as safetensors ``target``, whole or not at all.

    Precision is kept. Returns what was read, with what was dropped. Raises :class:`CheckpointError`.
    """
    source, target = Path(source), Path(target)
    if target.suffix != ".safetensors":
        raise CheckpointError(f"{target}: give a name that ends in .safetensors")
    if target.exists():
        raise CheckpointError(f"{target}: exists already; remove it or give another name")
    published = read_published(source)
    if published.family not in PUBLISHED:
        raise CheckpointError(f"{source}: {published.family} needs no conversion; use the file as it is")
    header = {"format": "pt", "adaqual": published.family, "dropped": json.dumps(published.dropped)}
    if published.patch is not None:
        header["patch"] = str(published.patch)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    try:
        save_file({key: value.contiguous().clone() for key, value in published.tensors.items()}, partial, header)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return published


@float32_default()
def load_restorer(path: Path = SHIPPED_RESTORER, operations: Any = nn, *, mode: str = "published") -> nn.Module:
    """Return the restoration network in ``path`` (by default the shipped one), of any family, float32 on the CPU, in evaluation
    mode.

    Our own files are known by their header, published ones by their tensors. ``mode``: how an AdaQual-Diff checkpoint uses its
    prompt module ("published" or "prompted"). Raises :class:`CheckpointError`.
    """
    path = Path(path)
    check_readable(path)
    kind = kind_in(path)
    if kind is not None and kind not in PUBLISHED:
        if kind not in OURS:
            wanted = " or ".join(map(titled, OURS))
            raise CheckpointError(f"{path}: an AdaQual {titled(kind)}, but a {wanted} is needed here; choose another file")
        return OURS[kind](path, operations)
    published = read_published(path)
    if published.family not in PUBLISHED:
        raise CheckpointError(f"{path}: {published.family}, no restoration network on its own; choose another file")
    shapes = {key: tuple(value.shape) for key, value in published.tensors.items()}
    with torch.device("meta"):
        model = PUBLISHED[published.family](shapes, Stated(patch=published.patch, mode=mode), operations)
    model.load_state_dict({key: value.float() for key, value in published.tensors.items()}, assign=True)
    return model.requires_grad_(False).train(False)
