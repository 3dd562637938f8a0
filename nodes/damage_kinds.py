"""This module shows which kinds of damage the assessor found, and lets the user say what it missed."""

import torch.nn.functional as F
from comfy_api.latest import io, ui
from torch import Tensor

from ..adaqual_core.alignment import mask_on_picture
from ..adaqual_core.kinds import KINDS
from ..adaqual_core.quality.heatmap import kinds_sheet
from ..adaqual_core.quality.map import QualityMap
from ..adaqual_core.quality.set_damage import set_damage
from .common import NAMES, OF_A_BATCH, AdaQualQuality, check_connected, check_offered, checked_mask, offered, schema, stack


class AdaQualDamageKinds(io.ComfyNode):
    """This node makes one mask for each kind of damage in a quality map, and a labelled picture of all."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the names, types, defaults and tooltips of the inputs and outputs."""
        return schema(
            node_id="AdaQualDamageKinds",
            display_name="Damage Kinds",
            description=(
                "Shows which kinds of damage a quality map names, where and how severe: a mask for each of the eight kinds, and "
                "a labelled picture of all. Look at it before you strike a kind out in Build Adaptive Prompt."
            ),
            is_output_node=True,
            search_aliases=["haze mask", "rain mask", "noise mask", "damage type", "degradation"],
            inputs=[
                AdaQualQuality.Input(
                    "quality",
                    tooltip="The map to look at, from Estimate Quality Map or Set Damage. It must name kinds of damage.",
                )
            ],
            outputs=[
                *(
                    io.Mask.Output(
                        display_name=kind,
                        tooltip=f"Severity of the {NAMES[kind]} per pixel at the picture's size: 0 = none, 1 = worst.",
                    )
                    for kind in KINDS
                ),
                io.Image.Output(
                    display_name="sheet",
                    tooltip=(
                        "All kinds side by side with name and mean severity, one picture per map; dark violet is worst. For a "
                        "batch or video a quarter as wide and high; the node itself shows the first one large."
                    ),
                ),
            ],
        )

    @classmethod
    def execute(cls, quality: QualityMap) -> io.NodeOutput:
        """Draw the sheet, then make the masks kind by kind."""
        check_connected(quality=(quality, QualityMap))
        singles = [quality.index(i) for i in range(quality.batch)]
        first = kinds_sheet(singles[0])
        part = 1 if len(singles) == 1 else OF_A_BATCH
        sheets = (F.avg_pool2d(kinds_sheet(one) if i else first, part)[0] for i, one in enumerate(singles))
        sheet = stack(sheets, quality.batch)
        masks = [stack((one.kind_pixels(kind)[0, 0] for one in singles), quality.batch) for kind in KINDS]
        return io.NodeOutput(*masks, sheet, ui=ui.PreviewImage(first.movedim(1, -1)))


class AdaQualSetDamage(io.ComfyNode):
    """This node adds damage that the user sees to a quality map."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the names, types, defaults and tooltips of the inputs and outputs."""
        return schema(
            node_id="AdaQualSetDamage",
            display_name="Set Damage",
            description=(
                "Says what kind of damage there is, how severe and where, when the assessor misses it. The picture is then "
                "restored as if the assessor had seen it; what it saw itself is never lowered."
            ),
            search_aliases=["assume haze", "paint damage", "dehaze region", "declare damage"],
            inputs=[
                AdaQualQuality.Input("quality", tooltip="The map to add to; it stays as it is, the one with the damage is new."),
                io.Combo.Input(
                    "kind",
                    options=list(KINDS),
                    default="haze",
                    tooltip="Kind of damage, default haze. low is low light, raindrops are drops on the lens.",
                ),
                io.Float.Input(
                    "severity",
                    default=0.7,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip=(
                        "How severe it is, 0 (none) to 1 (worst), default 0.7. Raise it when too little is removed, lower it "
                        "when too much is. Up to 0.12 alone changes nothing at the usual preserve of 4.5: raise that too."
                    ),
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip=(
                        "Region that has the damage, from a mask editor or any mask node; 1 = painted, any size. It counts to "
                        "the pixel. One mask serves all frames, or give one per frame. Not connected: the whole picture. "
                        "Empty: nothing."
                    ),
                ),
            ],
            outputs=[
                AdaQualQuality.Output(
                    display_name="quality", tooltip="The map with the damage; chain several nodes for several kinds or regions."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, kind: str | None = None) -> bool | str:
        """Refuse an unknown kind before anything runs."""
        return offered(kind=(kind, KINDS))

    @classmethod
    def execute(cls, quality: QualityMap, kind: str, severity: float, mask: Tensor | None = None) -> io.NodeOutput:
        """Add the damage to the map."""
        check_connected(quality=(quality, QualityMap))
        check_offered(kind=(kind, KINDS))
        if mask is not None:
            mask = mask_on_picture(checked_mask("mask", mask), quality.height, quality.width)
        return io.NodeOutput(set_damage(quality, kind, severity, mask))
