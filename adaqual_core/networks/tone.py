"""This module sets the tone of the whole picture: where and how the bilateral grid is applied (our definition, method section
3a).

A cell's restore mask must not cut through tone: even skies would come out in blotches. So the grid's change follows an edge-aware
mask, the cell mask filtered along the picture (He et al., guided image filtering) with a radius of an eighth of its sides. The
filter's coefficients are found on a small view of the whole picture and evaluated at full size, so that tiles equal the whole.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..filters import luma, smoothstep
from ..grid import severity_where_present
from ..kinds import KINDS, TONAL
from ..prompt import Prompt
from ..quality.map import resampled
from .bilateral_grid import sliced

_SIDE, _RADIUS, _EPSILON = 64, 8, 1e-2
_TONAL = tuple(KINDS.index(kind) for kind in TONAL)
_FAINT, _FULL = 0.05, 0.2
_ROWS = 256


def grid_gate(kinds: Tensor) -> Tensor:
    """Return how much of the grid is used, [B, 1, 1, 1, 1] in [0, 1], for asked severities by kind [B, 8, h, w].

    What counts is :func:`severity_where_present` of darkness or haze, whichever is larger: up to 0.05, which may be a false alarm
    of the assessor, the tone stays as it is, and from 0.2 on all of the grid is used. Rain and snow alone do not change the tone:
    streaks and flakes make a picture brighter, and a grid that is told of them darkens it, by far too much where they are
    overestimated (measured on Rain100L: docs/ablation.md).
    """
    strongest = severity_where_present(kinds[:, _TONAL]).amax(1, keepdim=True)
    return smoothstep(_FAINT, _FULL, strongest).view(-1, 1, 1, 1, 1)


def _box(field: Tensor) -> Tensor:
    side = 2 * _RADIUS + 1
    across = F.avg_pool2d(field, (1, side), 1, (0, _RADIUS), count_include_pad=False)
    return F.avg_pool2d(across, (side, 1), 1, (_RADIUS, 0), count_include_pad=False)


def edge_aware(picture: Tensor, restore_mask: Tensor, drawn: Tensor | None = None) -> Tensor:
    """Return the coefficients [B, 2, 64, 64] of the edge-aware mask of ``picture`` [B, 3, H, W] and ``restore_mask`` [B, 1, h, w]
    per cell.

    The mask at a place is the first coefficient times the luma there plus the second, clamped to [0, 1]. Cells count less the
    more an artist has set their scores, as ``drawn`` [B, 1, h, w] in [0, 1] says: paint hardly changes the mask beside it.
    """
    guide = F.adaptive_avg_pool2d(luma(picture.clamp(0, 1)), _SIDE)
    counts = torch.ones_like(restore_mask) if drawn is None else 1 - drawn
    weight, mask = (
        F.interpolate(cells.float(), (_SIDE, _SIDE), mode="bilinear", antialias=True) for cells in (counts, counts * restore_mask)
    )
    total = _box(weight).clamp_min(1e-6)
    mean_guide, mean_mask = _box(weight * guide) / total, _box(mask) / total
    variance = _box(weight * guide * guide) / total - mean_guide**2
    slope = (_box(guide * mask) / total - mean_guide * mean_mask) / (variance + _EPSILON)
    offset = mean_mask - slope * mean_guide
    return torch.cat((_box(weight * slope) / total, _box(weight * offset) / total), 1)


@dataclass(frozen=True)
class Tone:
    """This class is the tone of one or more whole pictures: ``grid`` [B, 12, levels, 16, 16] and ``mask`` [B, 2, 64, 64] of
    :func:`edge_aware`.
    """

    grid: Tensor
    mask: Tensor

    def change(
        self, part: Tensor, y: Tensor, x: Tensor, exact: tuple[Tensor, Tensor] | None = None, said: Tensor | None = None
    ) -> Tensor:
        """Return what the grid adds to parts [B, 3, n, m] of the pictures.

        Their rows lie at ``y`` [B, n] and their columns at ``x`` [B, m], as parts of the picture's sides from 0 to 1. Where the
        mask is 0 nothing is added. ``exact``, two fields [B, 1, n, m] in [0, 1], is another mask and how far it replaces the
        edge-aware one; ``said`` [B, 1, n, m] raises either.
        """
        where = torch.stack(
            ((2 * x - 1)[:, None].expand(-1, y.shape[1], -1), (2 * y - 1)[:, :, None].expand(-1, -1, x.shape[1])), -1
        )
        found = F.grid_sample(self.mask, where, mode="bilinear", padding_mode="border", align_corners=False)
        slope, offset = found.split(1, 1)
        mask = (slope * luma(part) + offset).clamp(0, 1)
        if exact is not None:
            mask = torch.lerp(mask, *exact)
        if said is not None:
            mask = torch.maximum(mask, said)
        return mask * sliced(self.grid, part, y, x)

    def applied(self, picture: Tensor, prompt: Prompt) -> Tensor:
        """Return one whole picture [3, H, W] with its tone set, in [0, 1]; ``prompt`` is that of the picture.

        Where an artist painted the map, and there alone, the prompt's mask counts instead of the edge-aware one. Low light and
        haze that were set through masks raise either. The picture is worked through in strips of rows, which saves memory.
        """
        height, width = picture.shape[-2:]
        toned, drawn = picture.clone(), prompt.quality.drawn
        drawn = None if drawn is None else resampled(drawn, height, width)
        x = ((torch.arange(width) + 0.5) / width)[None]
        for top in range(0, height, _ROWS):
            bottom = min(height, top + _ROWS)
            part = toned[None, :, top:bottom]
            y = ((torch.arange(top, bottom) + 0.5) / height)[None]
            exact = None
            if drawn is not None:
                exact = (prompt.unsaid_block_mask(0, top, bottom, 0, width)[None], drawn[:, :, top:bottom])
            said = None if prompt.said is None else prompt.said[:, 1:, top:bottom]
            part.add_(self.change(part, y, x, exact, said)).clamp_(0, 1)
        return toned
