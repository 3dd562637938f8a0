"""This module steers other diffusion models by a quality map: through their conditioning, guidance and noise mask."""

import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP
from comfy_api.latest import io
from torch import Tensor

from ..adaqual_core.checks import check_range
from ..adaqual_core.grid import severity_of
from ..adaqual_core.quality.map import QualityMap
from ..adaqual_core.steer.latents import graded, latent_scores, merged
from ..adaqual_core.steer.text import DIRECTIVES, PRESERVE, band_masks, band_weights, compose_bands, describe
from .common import AdaQualQuality, check_connected, schema
from .guider import QualityGuider

_GAMMA = (
    "Response to damage, 0.1 to 5, default 1. Lower it to treat mild damage like severe damage; raise it to keep the "
    "effect to the worst regions."
)
_MAP = "From Estimate or Edit Quality Map, made from the picture that is sampled: one map for all, or one per picture."


def _number(name: str, default: float, low: float, high: float, step: float, tooltip: str) -> io.Float.Input:
    return io.Float.Input(name, default=default, min=low, max=high, step=step, tooltip=tooltip)


def _text(name: str, default: str, tooltip: str) -> io.String.Input:
    return io.String.Input(name, default=default, multiline=True, tooltip=tooltip)


def _latent(samples: dict) -> Tensor:
    """Return the tensor of a LATENT; ValueError where it holds several at once."""
    latent = samples["samples"]
    if getattr(latent, "is_nested", False):
        raise ValueError("samples: holds several latents at once (video with sound); give a latent of pictures or video")
    return latent


class AdaQualAdaptiveConditioning(io.ComfyNode):
    """This node writes a masked prompt for each band of quality, for any model with a text encoder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the names, types, defaults and tooltips of the inputs and outputs."""
        return schema(
            node_id="AdaQualAdaptiveConditioning",
            display_name="Adaptive Conditioning",
            description=(
                "Writes a prompt for each band of quality, for any model with a text encoder: long and precise where the "
                "picture is bad, short and preserving where it is good. Each text acts only on its own regions."
            ),
            search_aliases=["regional prompt", "masked conditioning", "prompt by quality"],
            inputs=[
                io.Clip.Input("clip", tooltip="The text encoder of the model that samples, from its loader."),
                AdaQualQuality.Input("quality", tooltip=_MAP),
                io.Int.Input(
                    "bands",
                    default=4,
                    min=2,
                    max=6,
                    tooltip=(
                        "Number of quality bands, 2 to 6, default 4. Raise it for finer steps; each band that occurs costs "
                        "one more prediction per step. Lower it for speed."
                    ),
                ),
                _number(
                    "softness",
                    0.5,
                    0.0,
                    1.0,
                    0.05,
                    "Width of the soft borders between bands, 0 (hard) to 1 (softest), default 0.5. Raise it when "
                    "borders show; lower it to separate the texts.",
                ),
                _text(
                    "global_text",
                    "high quality photograph, natural, detailed",
                    "Text for the whole picture, with weight 1 beside the bands. Default: a quality phrase; empty leaves it "
                    "out. Lengthen it when regions fall apart.",
                ),
                _text(
                    "caption",
                    "",
                    "What the picture shows, put before every band's text. Default: empty. Describe the scene when the "
                    "model invents things.",
                ),
                _text(
                    "preserve_text",
                    PRESERVE,
                    "Text of the best band. Keep it short; default: a preserving phrase. Lengthen it only when good "
                    "regions change too much.",
                ),
                _text(
                    "directives",
                    "\n".join(DIRECTIVES),
                    "One directive per line, gentlest first; default 10 lines. A band says the first lines in proportion "
                    "to its damage, the worst says all. Add lines for damage of your own, remove what never occurs.",
                ),
                _number(
                    "strength_good",
                    1.0,
                    0.0,
                    10.0,
                    0.05,
                    "Strength of the best band's text, 0 to 10, default 1. Raise it to hold good regions to their text; "
                    "lower it to leave them to the global text.",
                ),
                _number(
                    "strength_bad",
                    1.0,
                    0.0,
                    10.0,
                    0.05,
                    "Strength of the worst band's text, 0 to 10, default 1; the bands between are spaced evenly. Raise "
                    "it to restore harder, lower it for the global text to prevail.",
                ),
                io.Latent.Input(
                    "samples",
                    optional=True,
                    tooltip=(
                        "The latent that is sampled. Connect it for a video with one map per frame, or to have a map that does "
                        "not fit it refused. Default: not connected; ComfyUI then stretches the masks to the latent."
                    ),
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="conditioning", tooltip="For the positive input of a sampler or guider."),
                io.Mask.Output(
                    display_name="masks", tooltip="The bands of the first picture, then of the next; best band first."
                ),
                io.String.Output(display_name="prompt", tooltip="The composed texts with their qualities and strengths."),
            ],
        )

    @classmethod
    def execute(
        cls,
        clip: CLIP | None,
        quality: QualityMap,
        bands: int,
        softness: float,
        global_text: str,
        caption: str,
        preserve_text: str,
        directives: str,
        strength_good: float,
        strength_bad: float,
        samples: dict | None = None,
    ) -> io.NodeOutput:
        """Encode the text of the whole picture, and those of the bands that occur."""
        check_connected(quality=(quality, QualityMap))
        if clip is None:
            raise ValueError("clip: none; the checkpoint has no text encoder, load one with Load CLIP and connect it")
        check_range("strength_good", strength_good, 0, 10)
        check_range("strength_bad", strength_bad, 0, 10)
        whole = global_text.strip()
        if not whole and min(strength_good, strength_bad) == 0:
            raise ValueError(
                "strength_good, strength_bad: 0 without a global_text leaves regions with no text at all; write a global_text "
                "or give a strength above 0"
            )
        composed = compose_bands(
            bands,
            preserve=preserve_text,
            directives=directives.splitlines(),
            caption=caption,
            strengths=(strength_good, strength_bad),
        )
        masks = places = band_masks(quality, bands, softness)
        if samples is not None:
            places = band_weights(severity_of(latent_scores(quality, _latent(samples).shape)), bands, softness)
        conditioning: list = clip.encode_from_tokens_scheduled(clip.tokenize(whole)) if whole else []
        for index, band in enumerate(composed):
            mask = places[:, index]
            if not bool(mask.any()) or band.strength == 0:
                continue
            settings = {"mask": mask, "set_area_to_bounds": False, "mask_strength": band.strength}
            for tokens, extra in clip.encode_from_tokens_scheduled(clip.tokenize(band.text)):
                conditioning.append([tokens, extra | settings])
        return io.NodeOutput(conditioning, masks.flatten(0, 1), describe(composed, whole))


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
                AdaQualQuality.Input("quality", tooltip=_MAP),
                io.Conditioning.Input("positive", tooltip="What is wanted, from Adaptive Conditioning or any text node."),
                _number(
                    "low",
                    2.0,
                    0.0,
                    100.0,
                    0.1,
                    "Guidance scale where the picture is perfect, 0 to 100, default 2. Raise it when good regions look "
                    "washed out, lower it when they are overdone.",
                ),
                _number(
                    "high",
                    7.0,
                    0.0,
                    100.0,
                    0.1,
                    "Guidance scale where the picture is destroyed, 0 to 100, default 7. Raise it to follow the prompt more "
                    "strictly there, lower it when colours burn.",
                ),
                _number("gamma", 1.0, 0.1, 5.0, 0.05, _GAMMA),
                _number(
                    "preservation",
                    0.0,
                    0.0,
                    1.0,
                    0.05,
                    "How much good regions are held to the encoded original at every step, 0 (off) to 1 (kept), default "
                    "0. Raise it when good regions change; it needs a latent from VAE Encode.",
                ),
                _number(
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
                AdaQualQuality.Input("quality", tooltip=_MAP),
                _number(
                    "low",
                    0.0,
                    0.0,
                    1.0,
                    0.05,
                    "Mask where the picture is perfect, 0 (kept) to 1 (free), default 0. Raise it when good and bad "
                    "regions end up looking different.",
                ),
                _number(
                    "high",
                    1.0,
                    0.0,
                    1.0,
                    0.05,
                    "Mask where the picture is destroyed, 0 to 1, default 1. Lower it to keep more of the bad regions.",
                ),
                _number("gamma", 1.0, 0.1, 5.0, 0.05, _GAMMA),
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
        mask = graded(severity_of(latent_scores(quality, _latent(samples).shape)), low, high, gamma)
        if samples.get("noise_mask") is not None:
            mask = merged(mask, samples["noise_mask"].to("cpu", torch.float32))
        return io.NodeOutput(samples | {"noise_mask": mask})
