"""This module damages pictures on purpose, for testing graphs and comparing restorers."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from comfy_api.latest import io
from torch import Tensor

from ..adaqual_core.alignment import mask_on_picture
from ..adaqual_core.damage import KINDS, degrade
from ..adaqual_core.visible import filled, put_back
from .common import check_offered, checked_image, checked_mask, frame, offered, reporter, schema, stack

_NONE = "none"


class AdaQualDegrade(io.ComfyNode):
    """This node damages pictures with one or two kinds of damage, everywhere or inside a mask."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the names, types, defaults and tooltips of the inputs and outputs."""
        return schema(
            node_id="AdaQualDegrade",
            display_name="Degrade Image",
            description=(
                "Damages clean pictures on purpose, everywhere or inside a mask, and says how much: for testing graphs "
                "and comparing restorers."
            ),
            search_aliases=["add noise", "add haze", "add rain", "synthetic damage"],
            inputs=[
                io.Image.Input("image", tooltip="Clean pictures of any size, same damage for all; alpha stays."),
                io.Combo.Input(
                    "kind",
                    options=list(KINDS),
                    default="haze",
                    tooltip="Kind of damage, default haze. low is low light, raindrops are drops on the lens.",
                ),
                io.Combo.Input(
                    "second_kind",
                    options=[_NONE, *KINDS],
                    default=_NONE,
                    tooltip=(
                        "Another kind on top, default none. The two are applied in their natural order (light, rain or "
                        "snow, haze, then camera and file), whichever is named first."
                    ),
                ),
                io.Float.Input(
                    "severity",
                    default=0.6,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip=(
                        "How bad it gets, 0 (untouched) to 1 (worst), default 0.6. Lower it for a mild test, raise it "
                        "for a hard one."
                    ),
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=True,
                    tooltip=("Which damage of that kind, 0 to 2^64 − 1, default 0. The same seed gives the same picture."),
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip=(
                        "Region to damage, 1 = damaged, any size, soft borders allowed. Not connected: the whole "
                        "picture. An empty mask damages nothing."
                    ),
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The damaged pictures, one per input."),
                io.Mask.Output(display_name="severity", tooltip="Exact damage per pixel: 0 = untouched, 1 = worst."),
            ],
        )

    @classmethod
    def validate_inputs(cls, kind: str | None = None, second_kind: str | None = None) -> bool | str:
        """Refuse an unknown kind before anything runs."""
        return offered(kind=(kind, KINDS), second_kind=(second_kind, (_NONE, *KINDS)))

    @classmethod
    def execute(
        cls, image: Tensor, kind: str, second_kind: str, severity: float, seed: int, mask: Tensor | None = None
    ) -> io.NodeOutput:
        """Damage frame by frame."""
        check_offered(kind=(kind, KINDS), second_kind=(second_kind, (_NONE, *KINDS)))
        image, mask = checked_image("image", image), None if mask is None else checked_mask("mask", mask)
        count, (height, width) = len(image), image.shape[1:3]
        mask = None if mask is None else mask_on_picture(mask, height, width)
        kinds = [kind] if second_kind in (_NONE, kind) else [kind, second_kind]
        if mask is not None and len(mask) not in (1, count):
            raise ValueError(f"mask: {len(mask)} masks for {count} pictures; give one mask, or one per picture")
        report, severities = reporter(count), []

        def pictures() -> Iterator[Tensor]:
            for index in range(count):
                picture, region = frame(image, index), None
                if mask is not None:
                    one = mask[index if len(mask) > 1 else 0].clamp(0, 1)
                    region = F.interpolate(one[None, None], (height, width), mode="bilinear")[0]
                damaged = degrade(filled(picture)[0, :3].clamp(0, 1), kinds, severity, seed=seed, mask=region)
                severities.append(damaged.severity[0])
                yield put_back(torch.cat((damaged.picture, picture[0, 3:]))[None], picture)[0]
                report(index, 1, 1)

        return io.NodeOutput(stack(pictures(), count), stack(severities, count))
