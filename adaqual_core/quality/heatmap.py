"""Pictures of quality maps: the heatmap with its fixed colour scale and legend, and the grey map (our definitions).

The scale is the same for every picture: dark violet is quality 1, yellow quality 5, and lightness rises evenly between
(viridis), so that it can be read by the colour-blind and in print.
"""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from ..default_dtype import float32_default
from ..grid import HIGHEST, LOWEST
from .map import QualityMap

_VIRIDIS = (
    (0.267, 0.005, 0.329), (0.283, 0.141, 0.458), (0.254, 0.265, 0.530), (0.207, 0.372, 0.553), (0.164, 0.471, 0.558),
    (0.128, 0.567, 0.551), (0.135, 0.659, 0.518), (0.267, 0.749, 0.441), (0.478, 0.821, 0.318), (0.741, 0.873, 0.150),
    (0.993, 0.906, 0.144),
)  # fmt: skip
_MARKS = 5


@float32_default()
def colour_table() -> Tensor:
    """The colours [256, 3] in [0, 1] of qualities 1 to 5 in even steps."""
    anchors = torch.tensor(_VIRIDIS)
    position = torch.linspace(0, len(anchors) - 1, 256)
    lower = position.long().clamp(max=len(anchors) - 2)
    return torch.lerp(anchors[lower], anchors[lower + 1], (position - lower)[:, None])


@float32_default()
def grey_map(quality: QualityMap) -> Tensor:
    """Quality per pixel as grey [B, 1, H, W] in [0, 1]: 0 = quality 1, 1 = quality 5, at the picture's size."""
    return quality.resized(quality.height, quality.width).sub(LOWEST).div_(HIGHEST - LOWEST)


def _number(number: int, size: float) -> Image.Image:
    """A number as a grey mask of its own size, drawn with Pillow's font at ``size`` px.

    Pillow before 10.1 has its font at one size only, which is enlarged to the nearest whole multiple below ``size``.
    """
    try:
        font, factor = ImageFont.load_default(size), 1
    except TypeError:
        font = ImageFont.load_default()
        factor = max(1, int(size / font.getbbox("0")[3]))
    left, top, right, bottom = font.getbbox(str(number))
    mask = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(mask).text((-left, -top), str(number), fill=255, font=font)
    return ImageOps.scale(mask, factor, Image.Resampling.NEAREST)


def _legend(width: int) -> Tensor:
    """The colour scale [3, h, width] from 1 (left) to 5 (right), with the numbers written where they fit."""
    height = max(12, min(64, width // 16))
    table = (colour_table() * 255).round().to(torch.uint8)
    row = table[torch.linspace(0, 255, width).long()]
    image = Image.fromarray(row.expand(height, width, 3).contiguous().numpy())
    if width >= 8 * height:
        for mark in range(_MARKS):
            x = height / 2 + mark / (_MARKS - 1) * (width - height)
            colour = (255, 255, 255) if mark < _MARKS // 2 else (0, 0, 0)
            digit = _number(mark + 1, 0.75 * height)
            image.paste(colour, (round(x - digit.width / 2), (height - digit.height) // 2), digit)
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255


@float32_default()
def heatmap(quality: QualityMap, legend: bool = True) -> Tensor:
    """Quality maps as colours [B, 3, H, W] in [0, 1] at the picture's size, above a ``legend`` from 1 to 5."""
    index = (grey_map(quality)[:, 0] * 255).round_().to(torch.uint8)
    table = colour_table()
    # channel by channel: a map of a large picture needs no interleaved copy
    colours = torch.stack([table[:, channel][index.int()] for channel in range(3)], 1)
    if not legend:
        return colours
    strip = _legend(quality.width).expand(quality.batch, -1, -1, -1)
    return torch.cat((colours, strip), 2)
