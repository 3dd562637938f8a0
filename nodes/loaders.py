"""This module finds model files and loads their networks under ComfyUI's memory management."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.ops
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..adaqual_core.networks.adaqual_diff import MODES
from ..adaqual_core.networks.shipped import SHIPPED_DENOISER
from ..adaqual_core.published.read import load_restorer
from ..adaqual_core.quality.assess import family_of, open_assessor
from ..adaqual_core.quality.bundled import SHIPPED_ASSESSOR
from .common import AdaQualAssessor, AdaQualModel, check_offered, offered, schema


@dataclass(frozen=True)
class Family:
    """This class is one kind of model: its folder, the file that comes with the pack, endings of file names, and how a file is
    opened.

    ``open(path, device, offload, **options)`` returns a ModelPatcher that computes on ``device`` and rests on ``offload``. The
    field ``options`` holds the usual value of each option.
    """

    folder: str
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


MODELS = Family("adaqual", "adaqual nano (shipped)", SHIPPED_DENOISER, CHECKPOINTS, _open_model, {"mode": MODES[0]})
ASSESSORS = Family("adaqual_quality", "embedded (shipped)", SHIPPED_ASSESSOR, CHECKPOINTS[:1], _open_assessor, {"bits": None})

for _family in (MODELS, ASSESSORS):
    folder_paths.add_model_folder_path(_family.folder, os.path.join(folder_paths.models_dir, _family.folder))
    folder_paths.folder_names_and_paths[_family.folder][1].update(_family.suffixes)


def choices(family: Family) -> list[str]:
    """Return what a loader offers: the shipped file first, then the files in the family's folders.

    A folder with a config.json counts as one model, whatever its files are called.
    """
    found = {family.shipped: None}
    for name in folder_paths.get_filename_list(family.folder):
        inside, path = os.path.dirname(name), folder_paths.get_full_path(family.folder, name)
        whole = inside and path and os.path.isfile(os.path.join(os.path.dirname(path), "config.json"))
        found[inside if whole else name] = None
    return list(found)


def find(family: Family, name: str) -> Path:
    """Return the file or folder of a choice; ValueError with folder, name and remedy where it is not there."""
    if name == family.shipped:
        if not family.shipped_path.is_file():
            raise ValueError(
                f"{family.shipped_path.name} is missing from {family.shipped_path.parent}; it comes with the pack: "
                "install ComfyUI-AdaQual again (with git: `git checkout adaqual_core/weights`)"
            )
        return family.shipped_path
    path = folder_paths.get_full_path(family.folder, name)
    if path is None:
        path = folder_paths.get_full_path(family.folder, os.path.join(name, "config.json"))
        path = path and os.path.dirname(path)
    if not path:
        folders = " or ".join(folder_paths.get_folder_paths(family.folder))
        raise ValueError(
            f"{name} is not in {folders}; put the file there and press R to refresh the list, "
            f"or choose '{family.shipped}', which comes with the pack"
        )
    return Path(path)


def _stamp(path: Path) -> int:
    """Return a number that changes when the file changes, or when a file directly in the folder does."""
    files = path.iterdir() if path.is_dir() else [path]
    return max(file.stat().st_mtime_ns for file in files)


def _open(family: Family, path: Path, changed: int, **options: Any) -> ModelPatcher:
    device, offload = comfy.model_management.vae_device(), comfy.model_management.vae_offload_device()
    return family.open(path, device, offload, **options)


_remembered = lru_cache(maxsize=4)(_open)


def open_network(family: Family, name: str | None = None, **options: Any) -> ModelPatcher:
    """Return the network of a choice, by default the shipped one.

    A file is read once, and again when it or an option has changed. Options that are left out have their usual value, so that a
    network is held once, whether a loader names it or a node takes it by default. Folders hold large models, so the pack
    remembers none of these: they live as long as ComfyUI's own cache keeps what the loader returned.
    """
    path = find(family, name or family.shipped)
    return (_open if path.is_dir() else _remembered)(family, path, _stamp(path), **{**family.options, **options})


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


def _changed(family: Family, name: str) -> str:
    """Return a text that changes when the choice's path or its file changes."""
    path = find(family, name)
    return f"{path} {_stamp(path)}"


def _valid(family: Family, name: str | None, **others: tuple[object, Sequence[str]]) -> bool | str:
    """Return True if the family has a file of that name and every other input has one of its options, otherwise a message.

    A name of None is not looked for, because its input is linked. ``others`` are as for :func:`offered`.
    """
    answer = offered(**others)
    if answer is not True:
        return answer
    try:
        if name is not None:
            find(family, name)
    except ValueError as problem:
        return str(problem)
    return True


class AdaQualLoadModel(io.ComfyNode):
    """This node loads a restorer from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the names, types, defaults and tooltips of the inputs and outputs."""
        return schema(
            node_id="AdaQualLoadModel",
            display_name="Load AdaQual Model",
            description=(
                "Loads the network that restores: the shipped one, which needs no download, or a file in models/adaqual: "
                "an AdaQual preset, a checkpoint of AdaQual-Diff's authors, or WeatherDiffusion. What a file holds is "
                "told from its tensors, not from its name. ComfyUI manages its memory."
            ),
            search_aliases=["restoration model", "denoiser", "WeatherDiffusion", "AdaQual-Diff"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=choices(MODELS),
                    default=MODELS.shipped,
                    tooltip=(
                        "Model file from models/adaqual: .safetensors, .ckpt, .pt, .pth or .pth.tar. Default: the one that "
                        "comes with the pack. Choose another only if you trained or downloaded one; press R to see "
                        "files added meanwhile."
                    ),
                ),
                io.Combo.Input(
                    "mode",
                    options=list(PUBLISHED_MODES),
                    default="as published",
                    optional=True,
                    tooltip=(
                        "For checkpoints of AdaQual-Diff's authors only. Default as published: as their code, where the "
                        "prompt has no effect. prompted: the quality map guides the network as the paper describes; "
                        "for checkpoints trained that way."
                    ),
                ),
            ],
            outputs=[AdaQualModel.Output(display_name="model", tooltip="The network, for AdaQual Sampler or Restore Image.")],
        )

    @classmethod
    def validate_inputs(cls, model_name: str | None = None, mode: str | None = None) -> bool | str:
        """Name folder, file and remedy when the chosen file is not there; refuse an unknown mode."""
        return _valid(MODELS, model_name, mode=(mode, list(PUBLISHED_MODES)))

    @classmethod
    def fingerprint_inputs(cls, model_name: str, mode: str = "as published") -> str:
        """Load again when the file or the mode changes."""
        return f"{_changed(MODELS, model_name)} {mode}"

    @classmethod
    def execute(cls, model_name: str, mode: str = "as published") -> io.NodeOutput:
        """Read the file, or return the network that was read before."""
        check_offered(mode=(mode, list(PUBLISHED_MODES)))
        return io.NodeOutput(open_network(MODELS, model_name, mode=PUBLISHED_MODES[mode]))


class AdaQualLoadAssessor(io.ComfyNode):
    """This node loads a quality assessor from a file or a folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the names, types, defaults and tooltips of the inputs and outputs."""
        return schema(
            node_id="AdaQualLoadAssessor",
            display_name="Load Quality Assessor",
            description=(
                "Loads the network that judges local quality from 1 (destroyed) to 5 (clean) without a reference "
                "picture. The shipped one needs no download; DeQA-Score, CLIP models (for CLIP-IQA) and others go into "
                "models/adaqual_quality."
            ),
            search_aliases=["image quality assessment", "IQA"],
            inputs=[
                io.Combo.Input(
                    "assessor_name",
                    options=choices(ASSESSORS),
                    default=ASSESSORS.shipped,
                    tooltip=(
                        "File (.safetensors) or model folder from models/adaqual_quality. Default: the one that comes with "
                        "the pack, the fastest. A CLIP folder gives CLIP-IQA, slower; a DeQA-Score folder the paper's "
                        "assessor, slow and 16 GB large. Press R to see what was added meanwhile."
                    ),
                ),
                io.Combo.Input(
                    "weights",
                    options=list(BITS),
                    default="as in the files",
                    optional=True,
                    tooltip=(
                        "For DeQA-Score only. Default: as in the files, the most exact. 8 bit halves the memory of its language "
                        "model, 4 bit quarters it at some loss; choose them when memory is short. They need the package "
                        "bitsandbytes, and loading takes longer."
                    ),
                ),
            ],
            outputs=[
                AdaQualAssessor.Output(display_name="assessor", tooltip="The network, for Estimate Quality Map or Restore Image.")
            ],
        )

    @classmethod
    def validate_inputs(cls, assessor_name: str | None = None, weights: str | None = None) -> bool | str:
        """Name folder, file and remedy when the chosen file is not there; refuse an unknown choice of weights."""
        return _valid(ASSESSORS, assessor_name, weights=(weights, list(BITS)))

    @classmethod
    def fingerprint_inputs(cls, assessor_name: str, weights: str = "as in the files") -> str:
        """Load again when the file or the choice of weights changes."""
        return f"{_changed(ASSESSORS, assessor_name)} {weights}"

    @classmethod
    def execute(cls, assessor_name: str, weights: str = "as in the files") -> io.NodeOutput:
        """Read the file or folder, or return the network that was read before."""
        check_offered(weights=(weights, list(BITS)))
        return io.NodeOutput(open_network(ASSESSORS, assessor_name, bits=BITS[weights]))
