"""This module steers other diffusion models by a quality map, through their guidance and their noise mask."""

import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..adaqual_core.checks import check_range
from ..adaqual_core.grid import severity_of
from ..adaqual_core.quality.map import QualityMap
from ..adaqual_core.steer.latents import graded, latent_scores, merged
from .common import AdaQualQuality, check_connected, schema
from .guider import QualityGuider

_GAMMA = (
    "Response to damage, 0.1 to 5, default 1. Lower it to treat mild damage like severe damage; raise it to keep the "
    "effect to the worst regions."
)
MAP_OF_SAMPLED = "From Estimate or Edit Quality Map, made from the picture that is sampled: one map for all, or one per picture."


def number_input(name: str, default: float, low: float, high: float, step: float, tooltip: str) -> io.Float.Input:
    """Return an input for a number from ``low`` to ``high``."""
    return io.Float.Input(name, default=default, min=low, max=high, step=step, tooltip=tooltip)


def latent_of(samples: dict) -> Tensor:
    """Return the tensor of a LATENT; ValueError where it holds several at once."""
    latent = samples["samples"]
    if getattr(latent, "is_nested", False):
        raise ValueError("samples: holds several latents at once (video with sound); give a latent of pictures or video")
    return latent


class AdaQualGuider(io.ComfyNode):
    """This node makes a guider with a guidance scale that follows a quality map."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the names, types, defaults and tooltips of the inputs and outputs."""
        return schema(
            node_id="AdaQualGuider",
            display_name="Quality Guider",
            description=(
                "Guides any model more strongly where the picture is bad and gently where it is good, and can hold good "
                "regions to the original at every step. For SamplerCustomAdvanced."
            ),
            search_aliases=["cfg guider", "spatial cfg", "regional guidance"],
            inputs=[
                io.Model.Input("model", tooltip="Any diffusion model of ComfyUI, with its LoRAs and other patches."),
                AdaQualQuality.Input("quality", tooltip=MAP_OF_SAMPLED),
                io.Conditioning.Input("positive", tooltip="What is wanted, from Adaptive Conditioning or any text node."),
                number_input(
                    "low",
                    2.0,
                    0.0,
                    100.0,
                    0.1,
                    "Guidance scale where the picture is perfect, 0 to 100, default 2. Raise it when good regions look "
                    "washed out, lower it when they are overdone.",
                ),
                number_input(
                    "high",
                    7.0,
                    0.0,
                    100.0,
                    0.1,
                    "Guidance scale where the picture is destroyed, 0 to 100, default 7. Raise it to follow the prompt more "
                    "strictly there, lower it when colours burn.",
                ),
                number_input("gamma", 1.0, 0.1, 5.0, 0.05, _GAMMA),
                number_input(
                    "preservation",
                    0.0,
                    0.0,
                    1.0,
                    0.05,
                    "How much good regions are held to the encoded original at every step, 0 (off) to 1 (kept), default "
                    "0. Raise it when good regions change; it needs a latent from VAE Encode.",
                ),
                number_input(
                    "preserve",
                    4.5,
                    1.0,
                    5.0,
                    0.1,
                    "Quality from which a region counts as good for preservation, 1 to 5, default 4.5. Lower it to keep "
                    "more of the picture, raise it to keep less.",
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip=(
                        "What is not wanted. Leave it open for models without a negative prompt (Flux): then low and high "
                        "have no effect, and preservation works as ever."
                    ),
                ),
            ],
            outputs=[io.Guider.Output(display_name="guider", tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        quality: QualityMap,
        positive: list,
        low: float,
        high: float,
        gamma: float,
        preservation: float,
        preserve: float,
        negative: list | None = None,
    ) -> io.NodeOutput:
        """Make the guider; it works when the sampler calls it."""
        check_connected(model=(model, object), quality=(quality, QualityMap), positive=(positive, object))
        guider = QualityGuider(model, quality, low, high, gamma, preservation, preserve)
        guider.inner_set_conds({"positive": positive} | ({} if negative is None else {"negative": negative}))
        return io.NodeOutput(guider)


class AdaQualDenoiseMask(io.ComfyNode):
    """This node gives a latent a noise mask that is graded by a quality map."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the names, types, defaults and tooltips of the inputs and outputs."""
        return schema(
            node_id="AdaQualDenoiseMask",
            display_name="Quality Denoise Mask",
            description=(
                "Gives a latent a noise mask graded by damage, for Differential Diffusion and inpainting models: bad "
                "regions are painted anew, good ones stay, those between change a little."
            ),
            search_aliases=["differential diffusion", "noise mask", "inpaint mask"],
            inputs=[
                io.Latent.Input(
                    "samples",
                    tooltip=("The encoded picture or video. A noise mask that it has already is multiplied with the new one."),
                ),
                AdaQualQuality.Input("quality", tooltip=MAP_OF_SAMPLED),
                number_input(
                    "low",
                    0.0,
                    0.0,
                    1.0,
                    0.05,
                    "Mask where the picture is perfect, 0 (kept) to 1 (free), default 0. Raise it when good and bad "
                    "regions end up looking different.",
                ),
                number_input(
                    "high",
                    1.0,
                    0.0,
                    1.0,
                    0.05,
                    "Mask where the picture is destroyed, 0 to 1, default 1. Lower it to keep more of the bad regions.",
                ),
                number_input("gamma", 1.0, 0.1, 5.0, 0.05, _GAMMA),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The same latent with the mask, for any sampler.")],
        )

    @classmethod
    def execute(cls, samples: dict, quality: QualityMap, low: float, high: float, gamma: float) -> io.NodeOutput:
        """Grade the mask on the latent's cells."""
        check_connected(samples=(samples, object), quality=(quality, QualityMap))
        check_range("low", low, 0, 1)
        check_range("high", high, 0, 1)
        check_range("gamma", gamma, 0.1, 5)
        mask = graded(severity_of(latent_scores(quality, latent_of(samples).shape)), low, high, gamma)
        if samples.get("noise_mask") is not None:
            mask = merged(mask, samples["noise_mask"].to("cpu", torch.float32))
        return io.NodeOutput(samples | {"noise_mask": mask})
