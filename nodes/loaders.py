"""Model files and the networks in them, under ComfyUI's memory management."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import comfy.model_management
import comfy.ops
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..adaqual_core.checkpoint import SHIPPED_ASSESSOR, SHIPPED_DENOISER, load_assessor
from ..adaqual_core.convert import load_restorer
from ..adaqual_core.official import MODES
from .common import AdaQualAssessor, AdaQualModel, schema


@dataclass(frozen=True)
class Family:
    """One kind of model file: its folder, the file that comes with the pack, the ends of names, and how it is read.

    ``half``: the network may run in float16 or bfloat16 where ComfyUI says so. The assessor may not: it is tiny, and
    its log statistics need float32.
    """

    folder: str
    shipped: str
    shipped_path: Path
    suffixes: tuple[str, ...]
    load: Callable
    half: bool


PUBLISHED_MODES = dict(zip(("as published", "prompted"), MODES, strict=True))
CHECKPOINTS = (".safetensors", ".ckpt", ".pt", ".pth", ".tar")
MODELS = Family("adaqual", "adaqual nano (shipped)", SHIPPED_DENOISER, CHECKPOINTS, load_restorer, True)
ASSESSORS = Family("adaqual_quality", "embedded (shipped)", SHIPPED_ASSESSOR, CHECKPOINTS[:1], load_assessor, False)

for _family in (MODELS, ASSESSORS):
    folder_paths.add_model_folder_path(_family.folder, os.path.join(folder_paths.models_dir, _family.folder))
    folder_paths.folder_names_and_paths[_family.folder][1].update(_family.suffixes)


def choices(family: Family) -> list[str]:
    """What a loader offers: the shipped file first, then what lies in the folders."""
    return [family.shipped, *folder_paths.get_filename_list(family.folder)]


def find(family: Family, name: str) -> Path:
    """The file behind a choice; ValueError with folder, file name and remedy where there is none."""
    if name == family.shipped:
        if not family.shipped_path.is_file():
            raise ValueError(
                f"{family.shipped_path.name} is missing from {family.shipped_path.parent}; it comes with the pack: "
                "install ComfyUI-AdaQual again (with git: `git checkout adaqual_core/weights`)"
            )
        return family.shipped_path
    path = folder_paths.get_full_path(family.folder, name)
    if path is None:
        folders = " or ".join(folder_paths.get_folder_paths(family.folder))
        raise ValueError(
            f"{name} is not in {folders}; put the file there and press R to refresh the list, "
            f"or choose '{family.shipped}', which comes with the pack"
        )
    return Path(path)


@lru_cache(maxsize=4)
def _patcher(family: Family, path: Path, changed: int, **options) -> ModelPatcher:
    device, offload = comfy.model_management.vae_device(), comfy.model_management.vae_offload_device()
    dtype = torch.float32
    if family.half and not comfy.model_management.is_device_cpu(device):
        dtype = comfy.model_management.vae_dtype(device, [torch.float16, torch.bfloat16])
    network = family.load(path, comfy.ops.manual_cast, **options).to(offload, dtype)
    return ModelPatcher(network, load_device=device, offload_device=offload)


def open_network(family: Family, name: str | None = None, **options) -> ModelPatcher:
    """The network of a choice (the shipped one without), read once and again when its file or an option has changed."""
    path = find(family, name or family.shipped)
    return _patcher(family, path, path.stat().st_mtime_ns, **options)


def use(*patchers: ModelPatcher, memory: float = 0) -> None:
    """Bring networks to their device, making room for ``memory`` bytes of work beside them.

    They are loaded whole, as ComfyUI loads a VAE: they are small, and the core runs where their weights are.
    """
    comfy.model_management.load_models_gpu(list(patchers), memory_required=memory, force_full_load=True)


def _changed(family: Family, name: str) -> str:
    path = find(family, name)
    return f"{path} {path.stat().st_mtime_ns}"


def _valid(family: Family, name: str | None) -> bool | str:
    try:
        if name is not None:
            find(family, name)
    except ValueError as problem:
        return str(problem)
    return True


class AdaQualLoadModel(io.ComfyNode):
    """Denoiser from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
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
    def validate_inputs(cls, model_name) -> bool | str:
        """Name folder, file and remedy when the chosen file is not there."""
        return _valid(MODELS, model_name)

    @classmethod
    def fingerprint_inputs(cls, model_name, mode="as published") -> str:
        """Load again when the file or the mode changes."""
        return f"{_changed(MODELS, model_name)} {mode}"

    @classmethod
    def execute(cls, model_name, mode="as published") -> io.NodeOutput:
        """Read the file."""
        return io.NodeOutput(open_network(MODELS, model_name, mode=PUBLISHED_MODES[mode]))


class AdaQualLoadAssessor(io.ComfyNode):
    """Quality assessor from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="AdaQualLoadAssessor",
            display_name="Load Quality Assessor",
            description=(
                "Loads the network that judges local quality from 1 (destroyed) to 5 (clean) without a reference "
                "picture. The shipped one needs no download; others go into models/adaqual_quality."
            ),
            search_aliases=["image quality assessment", "IQA"],
            inputs=[
                io.Combo.Input(
                    "assessor_name",
                    options=choices(ASSESSORS),
                    default=ASSESSORS.shipped,
                    tooltip=(
                        "Assessor file (.safetensors) from models/adaqual_quality. Default: the one that comes with "
                        "the pack. Choose another only if you trained or downloaded one; press R to see files added "
                        "meanwhile."
                    ),
                )
            ],
            outputs=[
                AdaQualAssessor.Output(display_name="assessor", tooltip="The network, for Estimate Quality Map or Restore Image.")
            ],
        )

    @classmethod
    def validate_inputs(cls, assessor_name) -> bool | str:
        """Name folder, file and remedy when the chosen file is not there."""
        return _valid(ASSESSORS, assessor_name)

    @classmethod
    def fingerprint_inputs(cls, assessor_name) -> str:
        """Load again when the file changes."""
        return _changed(ASSESSORS, assessor_name)

    @classmethod
    def execute(cls, assessor_name) -> io.NodeOutput:
        """Read the file."""
        return io.NodeOutput(open_network(ASSESSORS, assessor_name))
