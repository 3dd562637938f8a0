"""This module steers other diffusion models by a quality map, through their conditioning."""

from comfy.sd import CLIP
from comfy_api.latest import io

from ..adaqual_core.checks import check_range
from ..adaqual_core.grid import severity_of
from ..adaqual_core.quality.map import QualityMap
from ..adaqual_core.steer.latents import latent_scores
from ..adaqual_core.steer.text import DIRECTIVES, PRESERVE, band_masks, band_weights, compose_bands, describe
from .common import AdaQualQuality, check_connected, schema
from .steering import MAP_OF_SAMPLED, latent_of, number_input


def _text(name: str, default: str, tooltip: str) -> io.String.Input:
    """Return an input for a text of several lines."""
    return io.String.Input(name, default=default, multiline=True, tooltip=tooltip)


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
                AdaQualQuality.Input("quality", tooltip=MAP_OF_SAMPLED),
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
                number_input(
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
                number_input(
                    "strength_good",
                    1.0,
                    0.0,
                    10.0,
                    0.05,
                    "Strength of the best band's text, 0 to 10, default 1. Raise it to hold good regions to their text; "
                    "lower it to leave them to the global text.",
                ),
                number_input(
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
        check_range("strength_good", strength_good, 0, 10)
        check_range("strength_bad", strength_bad, 0, 10)
        if clip is None:
            raise ValueError("clip: none; the checkpoint has no text encoder, load one with Load CLIP and connect it")
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
            places = band_weights(severity_of(latent_scores(quality, latent_of(samples).shape)), bands, softness)
        conditioning: list = clip.encode_from_tokens_scheduled(clip.tokenize(whole)) if whole else []
        for index, band in enumerate(composed):
            mask = places[:, index]
            if not bool(mask.any()) or band.strength == 0:
                continue
            settings = {"mask": mask, "set_area_to_bounds": False, "mask_strength": band.strength}
            for tokens, extra in clip.encode_from_tokens_scheduled(clip.tokenize(band.text)):
                conditioning.append([tokens, extra | settings])
        return io.NodeOutput(conditioning, masks.flatten(0, 1), describe(composed, whole))
