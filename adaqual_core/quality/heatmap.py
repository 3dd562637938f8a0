"""This module draws quality maps: the heatmap with its fixed colour scale and legend, the sheet of kinds of damage, and the grey
map (our definitions).

The scale is the same for every picture: dark violet is quality 1, yellow quality 5, and lightness rises evenly between
(viridis), so that it can be read by the colour-blind and in print.
"""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from ..default_dtype import float32_default
from ..grid import HIGHEST, LOWEST
from ..kinds import KINDS
from .map import QualityMap

_VIRIDIS = (
    (0.267, 0.005, 0.329),
    (0.283, 0.141, 0.458),
    (0.254, 0.265, 0.530),
    (0.207, 0.372, 0.553),
    (0.164, 0.471, 0.558),
    (0.128, 0.567, 0.551),
    (0.135, 0.659, 0.518),
    (0.267, 0.749, 0.441),
    (0.478, 0.821, 0.318),
    (0.741, 0.873, 0.150),
    (0.993, 0.906, 0.144),
)
_QUALITIES = ("1", "2", "3", "4", "5")
_SEVERITIES = ("1", "0.75", "0.5", "0.25", "0")
_COLUMNS, _PANEL, _NARROWEST, _LINE, _GAP = 4, 384, 160, 32, 8


@float32_default()
def colour_table() -> Tensor:
    """Return the colours [256, 3] in [0, 1] of qualities 1 to 5 in even steps."""
    anchors = torch.tensor(_VIRIDIS)
    position = torch.linspace(0, len(anchors) - 1, 256)
    lower = position.long().clamp(max=len(anchors) - 2)
    return torch.lerp(anchors[lower], anchors[lower + 1], (position - lower)[:, None])


@float32_default()
def grey_map(quality: QualityMap) -> Tensor:
    """Return the quality per pixel as grey [B, 1, H, W] in [0, 1] at the picture's size: 0 is quality 1, and 1 is quality 5."""
    return quality.resized(quality.height, quality.width).sub(LOWEST).div_(HIGHEST - LOWEST)


def _label(text: str, size: float) -> Image.Image:
    """Return a text as a grey mask of its own size, drawn with Pillow's font at ``size`` px.

    Pillow before 10.1 has its font at one size only, which is enlarged to the nearest whole multiple below ``size``.
    """
    try:
        font, factor = ImageFont.load_default(size), 1
    except TypeError:
        font = ImageFont.load_default()
        factor = max(1, int(size / font.getbbox("0")[3]))
    left, top, right, bottom = (round(side) for side in font.getbbox(text))
    mask = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(mask).text((-left, -top), text, fill=255, font=font)
    return ImageOps.scale(mask, factor, Image.Resampling.NEAREST)


def _as_tensor(image: Image.Image) -> Tensor:
    """Return an RGB image as a tensor [3, H, W] in [0, 1]."""
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255


def _legend(width: int, marks: tuple[str, ...] = _QUALITIES) -> Tensor:
    """Return the colour scale [3, h, width] from quality 1 (left) to 5 (right), with ``marks`` written in even steps where they
    fit.
    """
    height = max(12, min(64, width // 16))
    table = (colour_table() * 255).round().to(torch.uint8)
    row = table[torch.linspace(0, 255, width).long()]
    image = Image.fromarray(row.expand(height, width, 3).contiguous().numpy())
    if width >= 8 * height:
        labels = [_label(mark, 0.75 * height) for mark in marks]
        inset = max(height, *(label.width + height // 2 for label in labels))
        for number, label in enumerate(labels):
            x = inset / 2 + number / (len(labels) - 1) * (width - inset)
            colour = (255, 255, 255) if number < len(labels) // 2 else (0, 0, 0)
            image.paste(colour, (round(x - label.width / 2), (height - label.height) // 2), label)
    return _as_tensor(image)


def _colours(quality: Tensor) -> Tensor:
    """Return qualities [B, 1, H, W] in [1, 5] as colours [B, 3, H, W] in [0, 1]."""
    index = (quality[:, 0].sub(LOWEST).div_(HIGHEST - LOWEST) * 255).round_().to(torch.uint8)
    table = colour_table()
    # channel by channel: a map of a large picture needs no interleaved copy
    return torch.stack([table[:, channel][index.int()] for channel in range(3)], 1)


@float32_default()
def heatmap(quality: QualityMap, legend: bool = True) -> Tensor:
    """Return quality maps as colours [B, 3, H, W] in [0, 1] at the picture's size, with a ``legend`` from 1 to 5 below, which
    adds to the height.
    """
    colours = _colours(quality.resized(quality.height, quality.width))
    if not legend:
        return colours
    strip = _legend(quality.width).expand(quality.batch, -1, -1, -1)
    return torch.cat((colours, strip), 2)


@float32_default()
def kinds_sheet(quality: QualityMap) -> Tensor:
    """Return the severity of each kind of damage as a labelled picture [B, 3, h, w] in [0, 1], about 1600 px wide.

    Eight panels in the order of KINDS show the maps of severity. Above each stand the kind's name and its mean severity, below
    all the colour scale from severity 1 (dark violet) to 0 (yellow). Raises ValueError where the map names no kinds.
    """
    scale = _PANEL / max(quality.height, quality.width)
    height, width = (max(1, round(side * scale)) for side in (quality.height, quality.width))
    box = max(width, _NARROWEST) + _GAP
    rows = -(-len(KINDS) // _COLUMNS)
    legend, sheets = _legend(_COLUMNS * box + _GAP, _SEVERITIES), []
    for picture in range(quality.batch):
        one = quality.index(picture)
        labels = Image.new("RGB", (_COLUMNS * box + _GAP, rows * (_LINE + height + _GAP)), (24, 24, 24))
        panels = []
        for number, kind in enumerate(KINDS):
            severity = one.kind_pixels(kind)
            mean = float(severity.mean())
            severity = F.interpolate(severity, (height, width), mode="bilinear", antialias=True).clamp(0, 1)
            x, y = _GAP + number % _COLUMNS * box, number // _COLUMNS * (_LINE + height + _GAP)
            label = _label(f"{kind}  {mean:.2f}", 0.7 * _LINE)
            labels.paste((255, 255, 255), (x, y + (_LINE - label.height) // 2), label)
            panels.append((x, y + _LINE, _colours(HIGHEST - (HIGHEST - LOWEST) * severity)[0]))
        sheet = _as_tensor(labels)
        for x, y, panel in panels:
            sheet[:, y : y + height, x : x + width] = panel
        sheets.append(torch.cat((sheet, legend), 1))
    return torch.stack(sheets)
