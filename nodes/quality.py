"""This module estimates and edits quality maps, and converts them from and to masks."""

from dataclasses import replace
from functools import partial

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io, ui
from torch import Tensor

from ..adaqual_core.alignment import mask_on_picture
from ..adaqual_core.grid import HIGHEST, LOWEST
from ..adaqual_core.kinds import KINDS
from ..adaqual_core.quality.edit import edit_quality
from ..adaqual_core.quality.map import QualityMap, quality_from_severity
from ..adaqual_core.quality.set_damage import set_damage
from ..adaqual_core.video.memory import steady_maps
from .assessing import judged, ready
from .common import (
    AdaQualQuality,
    assessor_input,
    check_connected,
    check_offered,
    checked_image,
    checked_mask,
    frame,
    frames,
    heatmap_image,
    join_maps,
    offered,
    reporter,
    schema,
    severity_mask,
    temporal_input,
)

_SEVERITY = "Damage per pixel at the picture's size: 0 = clean (quality 5), 1 = destroyed (quality 1)."
_AS_SEEN = "as seen"
_PAINTED_KINDS = (_AS_SEEN, *KINDS)
_HEATMAP = (
    "The map as colours with a legend below: dark violet is quality 1, yellow is 5, the same for every picture. As large as the "
    "picture; for a batch or video a quarter as wide and high."
)


class AdaQualEstimateQuality(io.ComfyNode):
    """This node estimates the quality map of pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the names, types, defaults and tooltips of the inputs and outputs."""
        return schema(
            node_id="AdaQualEstimateQuality",
            display_name="Estimate Quality Map",
            description=(
                "Judges how damaged each region of a picture is, from 1 (destroyed) to 5 (clean), without a reference. "
                "The map steers the restoration; it can be looked at, edited, or used as a mask anywhere."
            ),
            is_output_node=True,
            search_aliases=["image quality", "blur detection", "noise map", "IQA"],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="The picture or video frames to judge, any size. Colours that an alpha of 0 hides do not count.",
                ),
                assessor_input(),
                temporal_input(),
            ],
            outputs=[
                AdaQualQuality.Output(display_name="quality", tooltip="One map per picture, for the other AdaQual nodes."),
                io.Mask.Output(display_name="severity", tooltip=_SEVERITY),
                io.Image.Output(display_name="heatmap", tooltip=_HEATMAP),
                io.Float.Output(display_name="mean_quality", tooltip="Mean quality over all pictures, 1 to 5."),
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, assessor: ModelPatcher | None = None, temporal: int = 0) -> io.NodeOutput:
        """Judge frame by frame."""
        image, assessor = checked_image("image", image), ready(assessor)
        report, count = reporter(len(image)), len(image)
        maps = (judged(assessor, frame(image, i), partial(report, i)) for i in range(count))
        quality = join_maps(list(steady_maps(frames(image), maps, temporal)))
        heat = heatmap_image(quality)
        mean = float(quality.mean.mean())
        return io.NodeOutput(quality, severity_mask(quality), heat, mean, ui=ui.PreviewImage(heat[:1]))


class AdaQualEditQuality(io.ComfyNode):
    """This node edits a quality map by hand."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the names, types, defaults and tooltips of the inputs and outputs."""
        return schema(
            node_id="AdaQualEditQuality",
            display_name="Edit Quality Map",
            description=(
                "Corrects a quality map by hand: make all damage count more or less, smooth the map, limit it, and "
                "paint regions with a mask. A low quality is restored strongly, a high one is left alone."
            ),
            is_output_node=True,
            search_aliases=["paint quality", "inpaint mask"],
            inputs=[
                AdaQualQuality.Input("quality", tooltip="The map to edit; it stays as it is, the edited one is new."),
                io.Float.Input(
                    "override_quality",
                    default=1.0,
                    min=1.0,
                    max=5.0,
                    step=0.1,
                    tooltip=(
                        "Quality given to the painted region, 1 to 5, default 1 (restore it fully). Raise it to 5 to "
                        "protect the painted region instead. Without a mask it does nothing."
                    ),
                ),
                io.Float.Input(
                    "minimum",
                    default=1.0,
                    min=1.0,
                    max=5.0,
                    step=0.1,
                    tooltip=(
                        "Lowest quality outside the painted region, 1 to 5, default 1. Raise it to 3 or so when the "
                        "worst regions are restored too strongly."
                    ),
                ),
                io.Float.Input(
                    "maximum",
                    default=5.0,
                    min=1.0,
                    max=5.0,
                    step=0.1,
                    tooltip=(
                        "Highest quality outside the painted region, 1 to 5, default 5. Lower it below the preserve "
                        "threshold to have the whole picture restored."
                    ),
                ),
                io.Float.Input(
                    "gain",
                    default=1.0,
                    min=0.0,
                    max=4.0,
                    step=0.05,
                    tooltip=(
                        "Multiplies the damage, 0 to 4, default 1. Raise it when too little is restored, lower it for "
                        "a gentler result; 0 calls everything clean."
                    ),
                ),
                io.Float.Input(
                    "blur",
                    default=0.0,
                    min=0.0,
                    max=512.0,
                    step=1.0,
                    tooltip=(
                        "Smooths the map, standard deviation in px of the picture, 0 to 512, default 0. Raise it to 16 "
                        "to 64 when restored and kept regions meet too visibly; lower it for sharper borders."
                    ),
                ),
                io.Mask.Input(
                    "override",
                    optional=True,
                    tooltip=(
                        "Region to paint over, from a mask editor or any mask node; 1 = painted, any size. One mask "
                        "serves all frames, or give one per frame. Not connected or empty: nothing is painted."
                    ),
                ),
                io.Combo.Input(
                    "kind",
                    options=list(_PAINTED_KINDS),
                    default=_AS_SEEN,
                    optional=True,
                    tooltip=(
                        "What the damage in the painted region is. Default as seen: what the assessor names there. Choose a "
                        "kind when it misses or mistakes it; the region is then as severe as override_quality says, and "
                        "keeps nothing else of the map. Without a mask it does nothing."
                    ),
                ),
            ],
            outputs=[
                AdaQualQuality.Output(display_name="quality", tooltip="The edited map."),
                io.Image.Output(display_name="heatmap", tooltip=_HEATMAP),
            ],
        )

    @classmethod
    def validate_inputs(cls, kind: str | None = None) -> bool | str:
        """Refuse an unknown kind before anything runs."""
        return offered(kind=(kind, _PAINTED_KINDS))

    @classmethod
    def execute(
        cls,
        quality: QualityMap,
        override_quality: float,
        minimum: float,
        maximum: float,
        gain: float,
        blur: float,
        override: Tensor | None = None,
        kind: str = _AS_SEEN,
    ) -> io.NodeOutput:
        """Edit the scores. A region of a named kind is first called clean, so that its damage is what is painted alone."""
        check_connected(quality=(quality, QualityMap))
        check_offered(kind=(kind, _PAINTED_KINDS))
        if override is not None:
            override = mask_on_picture(checked_mask("override", override), quality.height, quality.width)
        named = override is not None and kind != _AS_SEEN
        edited = edit_quality(
            quality,
            override=override,
            override_quality=HIGHEST if named else override_quality,
            minimum=minimum,
            maximum=maximum,
            gain=gain,
            blur=blur,
        )
        if named:
            edited = set_damage(edited, kind, (HIGHEST - override_quality) / (HIGHEST - LOWEST), override)
        heat = heatmap_image(edited)
        return io.NodeOutput(edited, heat, ui=ui.PreviewImage(heat[:1]))


class AdaQualQualityToMask(io.ComfyNode):
    """This node makes a mask of damage from a quality map."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the names, types, defaults and tooltips of the inputs and outputs."""
        return schema(
            node_id="AdaQualQualityToMask",
            display_name="Quality Map to Mask",
            description=(
                "Turns a quality map into a mask of damage at the picture's size, for any other node that takes a mask."
            ),
            inputs=[AdaQualQuality.Input("quality", tooltip="The map to convert, one mask per picture.")],
            outputs=[io.Mask.Output(display_name="severity", tooltip=_SEVERITY)],
        )

    @classmethod
    def execute(cls, quality: QualityMap) -> io.NodeOutput:
        """Turn scores into severities per pixel."""
        check_connected(quality=(quality, QualityMap))
        return io.NodeOutput(severity_mask(quality))


class AdaQualMaskToQuality(io.ComfyNode):
    """This node makes a quality map from a mask of damage."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the names, types, defaults and tooltips of the inputs and outputs."""
        return schema(
            node_id="AdaQualMaskToQuality",
            display_name="Mask to Quality Map",
            description=(
                "Makes a quality map from a mask of damage: white is destroyed (quality 1), black is clean (quality "
                "5). Use it to say yourself what is to be restored, without an assessor."
            ),
            inputs=[
                io.Mask.Input("mask", tooltip="Damage, 0 = clean to 1 = destroyed; values outside are clamped."),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip=(
                        "The picture the map is for: the map takes its size. Connect it when the mask's size differs; "
                        "without it the mask's own size is used."
                    ),
                ),
            ],
            outputs=[AdaQualQuality.Output(display_name="quality", tooltip="One map per mask; one serves all frames.")],
        )

    @classmethod
    def execute(cls, mask: Tensor, image: Tensor | None = None) -> io.NodeOutput:
        """Turn severities into scores, on the size of ``image`` where one is given."""
        mask = checked_mask("mask", mask)
        if image is None:
            return io.NodeOutput(quality_from_severity(mask))
        height, width = checked_image("image", image).shape[1:3]
        quality = quality_from_severity(mask_on_picture(mask, height, width))
        return io.NodeOutput(replace(quality, height=height, width=width))
