"""This module finds model files and loads their networks under ComfyUI's memory management."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.ops
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher

from ..adaqual_core.networks.adaqual_diff import MODES
from ..adaqual_core.networks.shipped import SHIPPED_RESTORER
from ..adaqual_core.published.read import load_restorer
from ..adaqual_core.quality.assess import family_of, open_assessor
from ..adaqual_core.quality.bundled import SHIPPED_ASSESSOR


@dataclass(frozen=True)
class ModelFolder:
    """This class is one kind of model: the folder below ComfyUI's models, the file that comes with the pack, the endings of file
    names, and how a file is opened.

    ``open(path, device, offload, **options)`` returns a ModelPatcher that computes on ``device`` and rests on ``offload``. The
    field ``options`` holds the usual value of each option.
    """

    name: str
    shipped: str
    shipped_path: Path
    suffixes: tuple[str, ...]
    open: Callable[..., ModelPatcher]
    options: Mapping[str, Any] = field(hash=False)


PUBLISHED_MODES: dict[str, str] = dict(zip(("as published", "prompted"), MODES, strict=True))
CHECKPOINTS = (".safetensors", ".ckpt", ".pt", ".pth", ".tar")


def _half(device: torch.device) -> torch.dtype:
    """Return float16 or bfloat16 where ComfyUI recommends it for ``device``, otherwise float32."""
    if comfy.model_management.is_device_cpu(device):
        return torch.float32
    return comfy.model_management.vae_dtype(device, [torch.float16, torch.bfloat16])


def _open_model(path: Path, device: torch.device, offload: torch.device, mode: str) -> ModelPatcher:
    """Open the restorer at ``path`` as a ModelPatcher, in half precision where ComfyUI recommends it."""
    network = load_restorer(path, comfy.ops.manual_cast, mode=mode).to(offload, _half(device))
    return ModelPatcher(network, load_device=device, offload_device=offload)


JUDGE = "adaqual_judge"
"""Name under which a patcher keeps the assessor object; the patcher's own network is that object or a part of it."""


BITS = {"as in the files": None, "8 bit": 8, "4 bit": 4}


def _open_assessor(path: Path, device: torch.device, offload: torch.device, bits: int | None) -> ModelPatcher:
    """Open the assessor at ``path`` as a ModelPatcher.

    The small networks compute in float32: their statistics need it, and it costs little. DeQA-Score keeps the type of its
    files. ComfyUI moves as many of its weights to the device as there is room for; its operations fetch each of the others when
    it is needed.
    """
    judge: Any = open_assessor(path, bits=bits, operations=comfy.ops.manual_cast, offload=True)
    network = judge
    if not family_of(judge).whole:
        judge = replace(judge, device=device, dtype=_half(device), offloaded=False)
        network = judge.net
    patcher = ModelPatcher(network.to(offload), load_device=device, offload_device=offload)
    patcher.set_attachments(JUDGE, judge)
    return patcher


MODELS = ModelFolder("adaqual", "adaqual nano (shipped)", SHIPPED_RESTORER, CHECKPOINTS, _open_model, {"mode": MODES[0]})
ASSESSORS = ModelFolder(
    "adaqual_quality", "embedded (shipped)", SHIPPED_ASSESSOR, CHECKPOINTS[:1], _open_assessor, {"bits": None}
)

for _folder in (MODELS, ASSESSORS):
    folder_paths.add_model_folder_path(_folder.name, os.path.join(folder_paths.models_dir, _folder.name))
    folder_paths.folder_names_and_paths[_folder.name][1].update(_folder.suffixes)


def choices(folder: ModelFolder) -> list[str]:
    """Return what a loader offers: the shipped file first, then the files in the folders that ComfyUI knows for it.

    A folder with a config.json counts as one model, whatever its files are called.
    """
    found = {folder.shipped: None}
    for name in folder_paths.get_filename_list(folder.name):
        inside, path = os.path.dirname(name), folder_paths.get_full_path(folder.name, name)
        whole = inside and path and os.path.isfile(os.path.join(os.path.dirname(path), "config.json"))
        found[inside if whole else name] = None
    return list(found)


def find(folder: ModelFolder, name: str) -> Path:
    """Return the file or folder of a choice; ValueError with folder, name and remedy where it is not there."""
    if name == folder.shipped:
        if not folder.shipped_path.is_file():
            raise ValueError(
                f"{folder.shipped_path.name} is missing from {folder.shipped_path.parent}; it comes with the pack: "
                "install ComfyUI-AdaQual again (with git: `git checkout adaqual_core/weights`)"
            )
        return folder.shipped_path
    path = folder_paths.get_full_path(folder.name, name)
    if path is None:
        path = folder_paths.get_full_path(folder.name, os.path.join(name, "config.json"))
        path = path and os.path.dirname(path)
    if not path:
        folders = " or ".join(folder_paths.get_folder_paths(folder.name))
        raise ValueError(
            f"{name} is not in {folders}; put the file there and press R to refresh the list, "
            f"or choose '{folder.shipped}', which comes with the pack"
        )
    return Path(path)


def _stamp(path: Path) -> int:
    """Return a number that changes when the file changes, or when a file directly in the folder does."""
    files = path.iterdir() if path.is_dir() else [path]
    return max(file.stat().st_mtime_ns for file in files)


def state_of(folder: ModelFolder, name: str) -> str:
    """Return a text that changes when the path of a choice or its file changes."""
    path = find(folder, name)
    return f"{path} {_stamp(path)}"


def _open(folder: ModelFolder, path: Path, changed: int, **options: Any) -> ModelPatcher:
    """Open the file or folder at ``path``; ``changed`` is a part of the key by which the result is remembered."""
    device, offload = comfy.model_management.vae_device(), comfy.model_management.vae_offload_device()
    return folder.open(path, device, offload, **options)


_remembered = lru_cache(maxsize=4)(_open)


def open_network(folder: ModelFolder, name: str | None = None, **options: Any) -> ModelPatcher:
    """Return the network of a choice, by default the shipped one.

    A file is read once, and again when it or an option has changed. Options that are left out have their usual value, so that a
    network is held once, whether a loader names it or a node takes it by default. Folders hold large models, so the pack
    remembers none of these: they live as long as ComfyUI's own cache keeps what the loader returned.
    """
    path = find(folder, name or folder.shipped)
    return (_open if path.is_dir() else _remembered)(folder, path, _stamp(path), **{**folder.options, **options})


def use(*patchers: ModelPatcher, memory: float = 0) -> None:
    """Load networks on their device, with room for ``memory`` bytes of work beside them.

    They are loaded whole, as ComfyUI loads a VAE, because they are small and the core computes where their weights are. Only
    DeQA-Score may stay partly where it rests.
    """
    judges = [judge_of(patcher) for patcher in patchers if patcher.get_attachment(JUDGE) is not None]
    whole = all(family_of(judge).whole for judge in judges)
    comfy.model_management.load_models_gpu(list(patchers), memory_required=int(memory), force_full_load=whole)


def judge_of(patcher: ModelPatcher) -> Any:
    """Return the assessor object that a loaded patcher holds, as :func:`adaqual_core.quality.assess.assess` takes it."""
    return patcher.get_attachment(JUDGE)
