"""This module reads and writes the published files: config.json with safetensors shards and an index, or one safetensors file.

Every fault that a header shows is found before a weight is read. Weights are then read tensor by tensor into a network that has
no storage yet. On the CPU, in the file's own type, they are not copied: they stay mapped.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
import torch.nn as nn
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...errors import CheckpointError, listed
from ...weight_files import check_readable, read_json
from .config import DeqaConfig, parse_config
from .lowbit import make_room, pack, packable, packed_bytes
from .network import DeqaNet, Prompt

INDEX = "model.safetensors.index.json"
EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"
TYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}


@dataclass(frozen=True)
class Shards:
    """This class holds the checked headers of a published model: its sizes, and the file, shape and type on disk of each
    weight.
    """

    origin: Path
    config: DeqaConfig
    files: dict[str, Path]
    shapes: dict[str, tuple[int, ...]]
    types: dict[str, torch.dtype]

    def read_bytes(self, prompt: Prompt, dtype: torch.dtype | None = None, bits: int | None = None) -> int:
        """Return the bytes of the weights that a scorer with this prompt holds, in ``dtype`` or by default in the file's types.

        The linear weights of the language model are packed in ``bits`` if given.
        """
        total = 0
        for key, shape in self.shapes.items():
            rows = {EMBEDDINGS: len(prompt.before + prompt.after), HEAD: len(prompt.levels)}.get(key)
            size = prod(shape if rows is None else (rows, *shape[1:]))
            if bits is not None and packable(key, shape):
                total += packed_bytes(size, bits)
            else:
                total += size * (dtype or self.types[key]).itemsize
        return total


def _locate(path: Path) -> Path:
    """Return the index or the only weights file of a folder, or the file itself."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such file or folder; give the folder of a DeQA-Score model")
    if (path / INDEX).is_file():
        return path / INDEX
    single = sorted(path.glob("*.safetensors"))
    if len(single) == 1:
        return single[0]
    if single:
        raise CheckpointError(f"{path / INDEX}: missing, but there are {len(single)} shards; download the index too")
    pickles = " (the .bin files there are pickles, which are not read)" if any(path.glob("*.bin")) else ""
    raise CheckpointError(f"{path}: no .safetensors file{pickles}; download the model's safetensors files")


def _weight_map(index: Path) -> dict[str, Path]:
    """Return the file of each weight. Every file must exist beside the index."""
    found = read_json(index, "download it again").get("weight_map")
    if not isinstance(found, dict) or not found:
        raise CheckpointError(f"{index}: no weight_map; download it again")
    names = set(found.values())
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise CheckpointError(f"{index}: names {name!r}, which is no safetensors file beside it; download it again")
    missing = sorted(name for name in names if not (index.parent / name).is_file())
    if missing:
        others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise CheckpointError(f"{index.parent / missing[0]}: missing shard{others}; download it into that folder")
    return {key: index.parent / name for key, name in found.items()}


def _headers(file: Path) -> tuple[dict, dict[str, tuple[tuple[int, ...], str]]]:
    """Return the metadata, and shape and type of each tensor. Opening checks that the file is as long as its header says."""
    check_readable(file)
    try:
        with safe_open(file, "pt") as opened:
            slices = {key: opened.get_slice(key) for key in opened.keys()}
            found = {key: (tuple(part.get_shape()), part.get_dtype()) for key, part in slices.items()}
            return opened.metadata() or {}, found
    except (SafetensorError, OSError) as problem:
        raise CheckpointError(
            f"{file}: not a readable safetensors file ({problem}); it may be truncated: download it again"
        ) from None


def _needed(key: str) -> bool:
    """Return whether a name can belong to the network. Old files also hold tables that are computed."""
    return key.startswith(("model.", HEAD)) and not key.endswith(("inv_freq", "position_ids"))


def _config(start: Path, metadata: dict) -> tuple[DeqaConfig, str]:
    """Return the sizes, and the name of their source: config.json beside the weights, or the file's header."""
    beside = start.parent / "config.json"
    if beside.is_file():
        return parse_config(read_json(beside, "download it again"), str(beside)), str(beside)
    if "config" not in metadata:
        raise CheckpointError(f"{beside}: missing; download the config.json that is published with the weights")
    try:
        return parse_config(json.loads(metadata["config"]), f"{start}, header"), f"{start}, header"
    except json.JSONDecodeError as problem:
        raise CheckpointError(f"{start}: unreadable configuration in its header ({problem})") from None


def open_shards(path: Path) -> Shards:
    """Check a model from its headers alone. ``path`` is its folder, its index, or its only weights file.

    :class:`CheckpointError` is raised for a missing or truncated shard, for a configuration that does not fit the weights, and
    for another kind of model.
    """
    start = _locate(Path(path))
    metadata, mapped = {}, None
    if start.suffix == ".json":
        mapped = _weight_map(start)
    headers = {}
    for file in sorted(set(mapped.values())) if mapped else [start]:
        metadata, headers[file] = _headers(file)
    if mapped is None:
        mapped = dict.fromkeys(headers[start], start)
    elsewhere = [key for key, file in mapped.items() if key not in headers[file]]
    if elsewhere:
        first = elsewhere[0]
        raise CheckpointError(f"{mapped[first]}: holds no {first}, though {start.name} says so; download both again")
    if any(".lora_" in key for key in mapped):
        raise CheckpointError(f"{start}: a LoRA adapter, not a whole model; merge it: adaqual convert ADAPTER OUT --base BASE")
    config, source = _config(start, metadata)
    files = {key: file for key, file in mapped.items() if _needed(key)}
    if EMBEDDINGS not in files:
        raise CheckpointError(f"{start}: not a DeQA-Score model (it begins with {listed(sorted(mapped))}); choose another")
    found = {key: headers[file][key] for key, file in files.items()}
    with torch.device("meta"):
        expected = {key: tuple(value.shape) for key, value in DeqaNet(config).state_dict().items()}
    lacking = sorted(set(expected) - set(found))
    if lacking:
        raise CheckpointError(f"{start}: lacks {listed(lacking)}; download it and its config.json again")
    wrong = sorted(key for key in found if key not in expected or found[key][0] != expected[key])
    if wrong:
        key = wrong[0]
        raise CheckpointError(
            f"{source}: does not fit the weights in {len(wrong)} places: {key} is {list(found[key][0])} in the file, "
            f"{list(expected.get(key, ())) or 'absent'} by the configuration; give the config.json of this model"
        )
    odd = sorted(key for key, (_, kind) in found.items() if kind not in TYPES)
    if odd:
        kind = found[odd[0]][1]
        raise CheckpointError(f"{files[odd[0]]}: {odd[0]} is {kind}; give files in float16, bfloat16 or float32")
    shapes = {key: shape for key, (shape, _) in found.items()}
    return Shards(start, config, files, shapes, {key: TYPES[kind] for key, (_, kind) in found.items()})


def _sample(tensor: Tensor) -> bytes:
    """Return 64 values from the middle of a tensor, which lie in one mapped page of the file."""
    flat = tensor.flatten()
    middle = max(0, flat.numel() // 2 - 32)
    return flat[middle : middle + 64].float().cpu().numpy().tobytes()


def read_network(
    shards: Shards,
    prompt: Prompt,
    device: torch.device,
    dtype: torch.dtype | None,
    operations=nn,
    bits: int | None = None,
) -> tuple[DeqaNet, Prompt, str]:
    """Return the network with this prompt's rows only, the prompt by the numbers of these rows, and a fingerprint of the weights.

    ``dtype`` None keeps the file's types; for ``bits`` see :mod:`adaqual_core.quality.deqa.lowbit`. The fingerprint is made of
    shapes, types and samples of every tensor, not of the files' paths.
    """
    text = prompt.before + prompt.after
    rows = {EMBEDDINGS: text, HEAD: prompt.levels}
    largest = max(text + prompt.levels)
    if largest >= shards.config.language.vocab_size:
        raise CheckpointError(
            f"{shards.origin}: a vocabulary of {shards.config.language.vocab_size} words has no token {largest}; "
            "this model has another tokenizer than the published one"
        )
    with torch.device("meta"):
        net = DeqaNet(shards.config, len(text), len(prompt.levels), operations)
        if bits is not None:
            make_room(net, bits)
    tensors, samples = {}, {}
    for file in sorted(set(shards.files.values())):
        try:
            with safe_open(file, "pt") as opened:
                for key in (key for key, place in shards.files.items() if place == file):
                    if key in rows:
                        part = opened.get_slice(key)
                        tensor = torch.cat([part[row : row + 1] for row in rows[key]])
                    else:
                        tensor = opened.get_tensor(key)
                    samples[key] = _sample(tensor)
                    if bits is not None and packable(key, shards.shapes[key]):
                        parts = pack(tensor.to(device), bits)
                        tensors.update({f"{key.removesuffix('weight')}{name}": part for name, part in parts.items()})
                    else:
                        tensors[key] = tensor.to(device, dtype)
        except (SafetensorError, OSError) as problem:
            raise CheckpointError(f"{file}: cannot be read ({problem}); download it again") from None
    net.load_state_dict(tensors, assign=True)
    digest = hashlib.sha256(repr((shards.config, prompt) if bits is None else (shards.config, prompt, bits)).encode())
    for key in sorted(samples):
        digest.update(f"{key} {shards.shapes[key]} {shards.types[key]}".encode() + samples[key])
    first = len(prompt.before)
    compact = Prompt(tuple(range(first)), tuple(range(first, len(text))), tuple(range(len(prompt.levels))))
    return net.requires_grad_(False).train(False), compact, digest.hexdigest()


def save_shards(folder: Path, config: dict, tensors: Iterable[tuple[str, Tensor]], limit: int = 5 * 10**9) -> None:
    """Write named tensors in the published layout, in shards of at most ``limit`` bytes (or one tensor).

    One shard is held in memory. The index is written last, so a folder without an index is unfinished.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[list[str]] = []
    held: dict[str, Tensor] = {}
    total = size = 0

    def flush() -> None:
        save_file(held, folder / f"{len(parts)}.partial", {"format": "pt"})
        parts.append(list(held))
        held.clear()

    for key, tensor in tensors:
        length = tensor.numel() * tensor.element_size()
        if held and size + length > limit:
            flush()
            size = 0
        held[key] = tensor.contiguous()
        size, total = size + length, total + length
    flush()
    weight_map = {}
    for number, keys in enumerate(parts):
        name = f"model-{number + 1:05d}-of-{len(parts):05d}.safetensors"
        os.replace(folder / f"{number}.partial", folder / name)
        weight_map.update(dict.fromkeys(keys, name))
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")
