"""This module is the nodes that load a restorer or an assessor."""

from collections.abc import Sequence

from comfy_api.latest import io

from .common import AdaQualAssessor, AdaQualModel, check_offered, offered, schema
from .models import ASSESSORS, BITS, MODELS, PUBLISHED_MODES, ModelFolder, choices, find, open_network, state_of


def _valid(folder: ModelFolder, name: str | None, **others: tuple[object, Sequence[str]]) -> bool | str:
    """Return True if the folder has a file of that name and every other input has one of its options, otherwise a message.

    A name of None is not looked for, because its input is linked. ``others`` are as for :func:`offered`.
    """
    answer = offered(**others)
    if answer is not True:
        return answer
    try:
        if name is not None:
            find(folder, name)
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
        return f"{state_of(MODELS, model_name)} {mode}"

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
        return f"{state_of(ASSESSORS, assessor_name)} {weights}"

    @classmethod
    def execute(cls, assessor_name: str, weights: str = "as in the files") -> io.NodeOutput:
        """Read the file or folder, or return the network that was read before."""
        check_offered(weights=(weights, list(BITS)))
        return io.NodeOutput(open_network(ASSESSORS, assessor_name, bits=BITS[weights]))
