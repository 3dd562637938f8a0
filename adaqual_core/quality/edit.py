"""This module edits quality maps by hand (our definition)."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import check_number
from ..default_dtype import float32_default
from ..filters import gaussian_blur
from ..grid import CELL, HIGHEST, LOWEST, severity_of
from .map import QualityMap, cell_grid, checked_mask, resampled

WIDEST_BLUR = 1024
"""Largest standard deviation in px of the blur of a map; beyond it a map of pixels would take gigabytes to blur."""


@float32_default()
def edit_quality(
    quality: QualityMap,
    *,
    override: Tensor | None = None,
    override_quality: float = LOWEST,
    minimum: float = LOWEST,
    maximum: float = HIGHEST,
    gain: float = 1.0,
    blur: float = 0.0,
) -> QualityMap:
    """Return a map edited by hand: severity × ``gain`` (overall and by kind), then blur (standard deviation in px of the
    picture), then limits, then paint. Raises ValueError for values outside their ranges.

    Where the ``override`` mask ([B or 1, h, w] in [0, 1], any size) is 1 the score becomes ``override_quality``; between 0 and
    1 it is mixed. Scores outside the painted area end within [minimum, maximum]. A mask that is finer than the cells is followed
    to the pixel. Where 5 is painted no kind of damage is left. Damage that was set through masks is edited alike.
    """
    for name, value in (("override_quality", override_quality), ("minimum", minimum), ("maximum", maximum)):
        check_number(name, value)
        if not LOWEST <= value <= HIGHEST:
            raise ValueError(f"{name}: {value}; qualities go from 1 (destroyed) to 5 (clean)")
    if minimum > maximum:
        raise ValueError(f"minimum: {minimum} is above maximum {maximum}; lower it")
    check_number("gain", gain)
    if not 0 <= gain <= 1e9:
        raise ValueError(f"gain: {gain}; give a number from 0 (no damage) to 1e9 (all damage is complete)")
    check_number("blur", blur)
    if not 0 <= blur <= WIDEST_BLUR:
        raise ValueError(f"blur: {blur}; give a width from 0 to {WIDEST_BLUR} px")
    if override is not None:
        override = checked_mask("override", override, quality.batch)

    def levelled(scores: Tensor) -> Tensor:
        scores = (HIGHEST - (HIGHEST - scores) * gain).clamp(LOWEST, HIGHEST)
        per_cell = scores.shape[-1] / quality.width
        return torch.stack([gaussian_blur(one, blur * per_cell) for one in scores]).clamp(minimum, maximum)

    def painted_over(scores: Tensor) -> Tensor:
        if override is None:
            return scores
        # painted strokes can be finer than a cell: work at the finer of the two grids
        fine = [max(a, b) for a, b in zip(scores.shape[-2:], cells, strict=True)]
        mode = "area" if override.shape[-1] > fine[1] else "bilinear"
        paint = F.interpolate(override, fine, mode=mode)
        scores = F.interpolate(scores, fine, mode="bilinear") if list(scores.shape[-2:]) != fine else scores
        return (scores + paint * (override_quality - scores)).clamp(LOWEST, HIGHEST)

    scores, cells, kinds = levelled(quality.scores), cell_grid(quality), quality.kinds
    pixels = None if quality.pixels is None else levelled(quality.pixels)
    is_painted = override is not None and bool(override.any())
    drawn = quality.drawn
    if override is not None and is_painted:
        drawn = resampled(override, quality.height, quality.width).expand(quality.batch, -1, -1, -1)
        if quality.drawn is not None:
            drawn = torch.maximum(drawn, resampled(quality.drawn, quality.height, quality.width))
    if pixels is None and override is not None and is_painted:
        if any(side > count for side, count in zip(override.shape[-2:], cells, strict=True)):
            pixels = resampled(scores, quality.height, quality.width)
    painted = {kind: levelled(HIGHEST - (HIGHEST - LOWEST) * damage) for kind, damage in quality.painted.items()}
    if kinds is not None:
        kinds = (resampled(kinds, *cells) * gain).clamp(0, 1)
        if override is not None and override_quality == HIGHEST:
            kinds = kinds * (1 - _share_of_cells(override, quality))
    return replace(
        quality,
        scores=painted_over(scores),
        assessor=f"{quality.assessor}, {'painted' if is_painted else 'edited'}",
        kinds=kinds,
        pixels=None if pixels is None else painted_over(pixels),
        painted={kind: severity_of(painted_over(damage)) for kind, damage in painted.items()},
        drawn=drawn,
    )


def _share_of_cells(mask: Tensor, quality: QualityMap) -> Tensor:
    """Return which part of each cell of the picture lies in a mask [B or 1, 1, h, w], as [B or 1, 1, rows, columns] in [0, 1]."""
    return F.avg_pool2d(resampled(mask, quality.height, quality.width), CELL, ceil_mode=True, count_include_pad=False)
