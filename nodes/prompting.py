"""This module builds adaptive prompts from quality maps."""

from comfy_api.latest import io
from torch import Tensor

from ..adaqual_core.kinds import KINDS
from ..adaqual_core.prompt import MAX_LENGTH, PromptSettings, build_prompt
from ..adaqual_core.quality.map import QualityMap
from ..adaqual_core.quality.naming import lacks_kinds, with_kinds
from ..adaqual_core.quality.placement import fitted
from ..adaqual_core.video.memory import steady_prompts
from .assessing import ready_namer
from .common import (
    NAMES,
    AdaQualPrompt,
    AdaQualQuality,
    check_connected,
    checked_image,
    frame,
    frames,
    join_prompts,
    schema,
    stack,
    temporal_input,
)

_PRESERVE = (
    "Regions of at least this quality are kept and not computed, 1 to 5, default 4.5; their tone may follow where low light "
    "or haze is removed nearby. Lower it to touch less of the picture; raise it to 5 to restore everything that is not perfect."
)


def preserve_input() -> io.Float.Input:
    """Return the input ``preserve``, which several nodes share."""
    return io.Float.Input("preserve", default=4.5, min=1.0, max=5.0, step=0.1, tooltip=_PRESERVE)


def _factor(kind: str) -> io.Float.Input:
    return io.Float.Input(
        kind,
        default=1.0,
        min=0.0,
        max=1.0,
        step=0.05,
        optional=True,
        tooltip=(
            f"Share of the {NAMES[kind]} to remove, 0 (keep all) to 1 (remove all), default 1. Lower it to leave some or all "
            "in the picture. Where the map names no kinds, the shipped assessor names them."
        ),
    )


class AdaQualBuildPrompt(io.ComfyNode):
    """This node builds the adaptive prompt of pictures from their quality map."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the names, types, defaults and tooltips of the inputs and outputs."""
        return schema(
            node_id="AdaQualBuildPrompt",
            display_name="Build Adaptive Prompt",
            description=(
                "Decides from the quality map what each region is asked to become: how complex its prompt is, and "
                "whether it is touched at all. No text is involved."
            ),
            inputs=[
                io.Image.Input("image", tooltip="What will be restored: the picture or frames the map was made from."),
                AdaQualQuality.Input(
                    "quality", tooltip="From Estimate or Edit Quality Map: one map per picture, or one for all."
                ),
                io.Float.Input(
                    "gamma",
                    default=1.0,
                    min=0.1,
                    max=5.0,
                    step=0.05,
                    tooltip=(
                        "Response of the prompt to damage, 0.1 to 5, default 1. Lower it when mild damage is restored "
                        "too timidly; raise it when mildly damaged regions lose character."
                    ),
                ),
                io.Float.Input(
                    "min_length",
                    default=1.0,
                    min=0.0,
                    max=MAX_LENGTH,
                    step=0.5,
                    tooltip=(
                        "Prompt length for the cleanest regions in tokens, 0 to 16, default 1. Raise it when nearly "
                        "clean regions are left too rough; must not exceed max_length."
                    ),
                ),
                io.Float.Input(
                    "max_length",
                    default=MAX_LENGTH,
                    min=0.0,
                    max=MAX_LENGTH,
                    step=0.5,
                    tooltip=(
                        "Prompt length for destroyed regions in tokens, 0 to 16, default 16. Lower it for a plainer, "
                        "gentler restoration of the worst regions."
                    ),
                ),
                preserve_input(),
                *(_factor(kind) for kind in KINDS),
                temporal_input(),
            ],
            outputs=[
                AdaQualPrompt.Output(display_name="prompt", tooltip="For AdaQual Sampler, with the same picture."),
                io.Mask.Output(
                    display_name="restored_region",
                    tooltip="What will be restored, at the picture's size: 1 = fully, 0 = kept.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        quality: QualityMap,
        gamma: float,
        min_length: float,
        max_length: float,
        preserve: float,
        temporal: int = 0,
        **factors: float,
    ) -> io.NodeOutput:
        """Build the prompts frame by frame. ``factors`` are by kind of damage, and 1 for a kind that is not given."""
        check_connected(quality=(quality, QualityMap))
        asked = tuple(factors.get(kind, 1.0) for kind in KINDS)
        settings = PromptSettings(gamma, min_length, max_length, preserve, asked)
        image = checked_image("image", image)
        count, height, width, _ = image.shape
        if quality.batch not in (1, count):
            raise ValueError(f"quality: {quality.batch} maps for {count} pictures; give one map, or one per picture")
        quality = fitted(quality, height, width, "image")
        namer = ready_namer() if lacks_kinds(quality) else None
        single = (quality.index(i if quality.batch > 1 else 0) for i in range(count))
        maps = [with_kinds(one, frame(image, i), namer) for i, one in enumerate(single)]
        built = (build_prompt(frame(image, i), maps[i], settings) for i in range(count))
        prompts = list(steady_prompts(frames(image), built, temporal))
        return io.NodeOutput(join_prompts(prompts, quality), stack((p.pixel_mask(0) for p in prompts), count))
