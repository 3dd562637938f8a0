"""This module is a bilateral grid of colour transforms, predicted once per picture from a view of the whole (our definition).

Darkness, haze and colour casts change a picture slowly from place to place, over distances that no finite receptive field spans.
A small network sees the whole picture on 32×32 cells and hears how severe each kind of damage is that is to go. It predicts an
affine colour transform for each place and brightness (bilateral grid: Chen et al. 2007; learnt: Gharbi et al. 2017). Everything
global goes through this view, so a picture restored in tiles equals the picture restored whole.

The network hears one severity of each kind for the whole picture. Told the severity of every cell, it follows the assessor's
errors, and even skies come out in blotches (measured on real hazy photos: docs/ablation.md).
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..filters import luma
from ..grid import severity_where_present
from ..kinds import KINDS, TONAL

VIEW = 32
"""Side of the view in cells; every cell is judged by 4×4 places of 2×2 px, whatever the picture's size."""

_PLACES = 4 * VIEW
_TONAL = tuple(KINDS.index(kind) for kind in TONAL)
CHANNELS = 11 + len(KINDS)
"""Channels of a view: mean, least and greatest colour, the logarithm of the detail, overall severity, severity of each kind."""


def _quads(picture: Tensor) -> Tensor:
    """Return the four pixels at each of 128×128 evenly spread places: [B, 3, H, W] gives [B, 3, 4, 128, 128]."""

    def positions(length: int) -> Tensor:
        first = ((torch.arange(_PLACES, device=picture.device) + 0.5) * length / _PLACES - 0.5).floor().long()
        return first.clamp(0, max(0, length - 2))

    ys, xs = positions(picture.shape[-2]), positions(picture.shape[-1])
    last_y, last_x = picture.shape[-2] - 1, picture.shape[-1] - 1
    parts = [picture[..., (ys + dy).clamp_max(last_y), :][..., (xs + dx).clamp_max(last_x)] for dy in (0, 1) for dx in (0, 1)]
    return torch.stack(parts, 2)


def view_of(picture: Tensor, severity: Tensor, kinds: Tensor) -> Tensor:
    """Return what the grid is predicted from, [B, 19, 32, 32] of order 1.

    ``picture`` [B, 3, H, W] in [0, 1]; ``severity`` [B, 1, h, w] and ``kinds`` [B, 8, h, w] in [0, 1] on the picture's cells. The
    view holds :func:`severity_where_present` of both. Of the overall severity a cell counts no more than its low light or haze,
    whichever is more severe: told of strong noise or rain, the grid makes more of a faint false alarm of either (measured on
    noisy photos: docs/ablation.md).
    """
    severity = torch.minimum(severity, kinds[:, _TONAL].amax(1, keepdim=True))
    quads = _quads(picture).clamp(0, 1)
    side = _PLACES // VIEW
    mean = F.avg_pool2d(quads.mean(2), side)
    least, greatest = -F.max_pool2d(-quads.amin(2), side), F.max_pool2d(quads.amax(2), side)
    a, b, c, d = luma(quads.movedim(1, 2)).squeeze(2).unbind(1)
    detail = torch.log(F.avg_pool2d((a - b - c + d).abs()[:, None] / 2, side) + 1e-3) / 3 + 1.5
    damage = severity_where_present(torch.cat((severity, kinds), 1)).expand(-1, -1, VIEW, VIEW)
    return torch.cat((2 * mean - 1, 2 * least - 1, 2 * greatest - 1, detail, 2 * damage), 1)


def sliced(grid: Tensor, colours: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Return the change [B, 3, n, m] that ``grid`` [B, 12, levels, h, w] makes to ``colours`` [B, 3, n, m] in [0, 1].

    ``y`` [B, n] and ``x`` [B, m] are the rows' and columns' positions as parts of the picture's sides, from 0 to 1. The transform
    is linear between places and between levels of brightness.
    """
    levels = grid.shape[2]
    z = (2 * luma(colours)[:, 0].clamp(0, 1) * (levels - 1) + 1) / levels - 1
    where = torch.stack(((2 * x - 1)[:, None].expand_as(z), (2 * y - 1)[:, :, None].expand_as(z), z), -1)
    found = F.grid_sample(grid, where[:, None], mode="bilinear", padding_mode="border", align_corners=False)[:, :, 0]
    transform = found.unflatten(1, (3, 4))
    return (transform[:, :, :3] * colours[:, None]).sum(2) + transform[:, :, 3]


class _Block(nn.Module):
    """This block computes x + W2·SiLU(W1·SiLU(norm(x))) with 3×3 convolutions W1 and W2."""

    def __init__(self, width: int, operations):
        super().__init__()
        self.norm = operations.GroupNorm(4, width)
        self.conv1 = operations.Conv2d(width, width, 3, padding=1)
        self.conv2 = operations.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(self.norm(x)))))


class BilateralGrid(nn.Module):
    """This network predicts a grid [B, 12, levels, 16, 16] of affine colour changes from a view [B, 19, 32, 32].

    ``widths``: channels at 1/1, 1/2 and 1/4 of the view. ``blocks``: number of blocks at each of them. ``levels``: number of
    levels of brightness. An untrained grid changes nothing.
    """

    def __init__(self, widths: tuple[int, int, int], blocks: int, levels: int, operations=nn):
        super().__init__()
        self.levels = levels
        w1, w2, w3 = widths

        def chain(width: int) -> nn.Sequential:
            return nn.Sequential(*(_Block(width, operations) for _ in range(blocks)))

        self.stem = operations.Conv2d(CHANNELS, w1, 3, padding=1)
        self.blocks1 = chain(w1)
        self.down1 = operations.Conv2d(w1, w2, 2, 2)
        self.blocks2 = chain(w2)
        self.down2 = operations.Conv2d(w2, w3, 2, 2)
        self.blocks3 = chain(w3)
        self.whole1 = operations.Linear(2 * w3, 2 * w3)
        self.whole2 = operations.Linear(2 * w3, w2 + w3)
        self.up = operations.Conv2d(w3, w2, 1)
        self.blocks4 = chain(w2)
        self.head = operations.Conv2d(w2, 12 * levels, 1)

    def forward(self, view: Tensor) -> Tensor:
        """Return the grid in float32."""
        x2 = self.blocks2(self.down1(self.blocks1(self.stem(view))))
        x3 = self.blocks3(self.down2(x2))
        whole = torch.cat((x3.mean((2, 3)), x3.amax((2, 3))), 1)
        about2, about3 = self.whole2(F.silu(self.whole1(whole)))[:, :, None, None].split([x2.shape[1], x3.shape[1]], 1)
        x = F.interpolate(self.up(F.silu(x3 + about3)), scale_factor=2, mode="bilinear") + x2 + about2
        return self.head(F.silu(self.blocks4(x))).float().unflatten(1, (12, self.levels))
