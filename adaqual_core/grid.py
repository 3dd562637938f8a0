"""This module defines the grid of cells of 16×16 px on which quality is known, and the scale of quality."""

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

_Number = TypeVar("_Number", float, Tensor)

CELL = 16
"""Side of a cell in px. The estimator and the denoiser's coarsest level work on cells of this side."""

LOWEST = 1.0
HIGHEST = 5.0
"""The ends of the scale of quality: 1 = destroyed, 5 = clean."""


def cell_count(pixels: int) -> int:
    """Return the number of cells along a side of ``pixels`` px. The last cell may reach beyond the picture."""
    return math.ceil(pixels / CELL)


def severity_of(scores: Tensor) -> Tensor:
    """Return the severity s = (5 − Q)/4 in [0, 1] of scores Q in [1, 5], of any shape (method.md section 3)."""
    return ((HIGHEST - scores) / (HIGHEST - LOWEST)).clamp(0, 1)


def quality_of(severity: _Number) -> _Number:
    """Return the quality Q = 5 − 4·s in [1, 5] of a severity s in [0, 1], a number or a tensor of any shape."""
    return HIGHEST - (HIGHEST - LOWEST) * severity


def pixel_mask(restore_mask: Tensor, height: int, width: int) -> Tensor:
    """Return the restore mask [h, w] per cell as a mask [height, width] per pixel, interpolated between cell centres; 0 =
    keep."""
    fine = F.interpolate(restore_mask[None, None], scale_factor=CELL, mode="bilinear", align_corners=False)
    return fine[0, 0, :height, :width]


def block_mask(restore_mask: Tensor, top: int, bottom: int, left: int, right: int) -> Tensor:
    """Return the part [1, bottom − top, right − left] of the restore mask [1, 1, h, w] per pixel, as :func:`pixel_mask` gives it.

    ``top`` to ``right`` in px; they may reach beyond the picture as far as its last cells do.
    """
    rows, columns = ((first // CELL - 1, -(-last // CELL) + 1) for first, last in ((top, bottom), (left, right)))
    last_row, last_column = restore_mask.shape[-2] - 1, restore_mask.shape[-1] - 1
    part = restore_mask[..., torch.arange(*rows).clamp(0, last_row), :]
    part = part[..., torch.arange(*columns).clamp(0, last_column)]
    fine = F.interpolate(part, scale_factor=CELL, mode="bilinear", align_corners=False)[0]
    return fine[:, CELL + top % CELL :, CELL + left % CELL :][:, : bottom - top, : right - left]


def block_of(mask: Tensor, top: int, bottom: int, left: int, right: int) -> Tensor:
    """Return a block [1, bottom − top, right − left] of a mask [1, H, W]; its border values are repeated outside."""
    rows, columns = (
        torch.arange(*ends).clamp(max=side - 1) for ends, side in zip(((top, bottom), (left, right)), mask.shape[1:], strict=True)
    )
    return mask[:, rows][:, :, columns]


def mirrored(length: int, start: int, stop: int) -> Tensor:
    """Return the indices of the positions ``start``:``stop`` in a side of ``length`` ≥ 1 px that is continued by reflection."""
    if length == 1:
        return torch.zeros(stop - start, dtype=torch.long)
    position = torch.arange(start, stop) % (2 * length - 2)
    return torch.where(position < length, position, 2 * length - 2 - position)


def severity_where_present(damage: Tensor) -> Tensor:
    """Return one severity [B, C, 1, 1] for each of the C kinds of ``damage`` [B, C, h, w], both in [0, 1] (our definition).

    It is Σs²/Σs over the cells: the mean in which each cell counts by its own severity. Damage that fills a part of the picture
    is as severe by this measure as the same damage all over it. It is 0 where no cell is damaged.
    """
    damage = damage.float()
    return damage.square().sum((2, 3), keepdim=True) / damage.sum((2, 3), keepdim=True).clamp_min(1e-6)
