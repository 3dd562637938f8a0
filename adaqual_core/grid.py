"""The grid of cells of 16×16 px on which quality is known, and the scale of quality."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

CELL = 16
"""Side of a cell in px: the assessor's stride and the denoiser's bottleneck."""

LOWEST = 1.0
HIGHEST = 5.0
"""The ends of the scale of quality: destroyed and clean."""


def cell_count(pixels: int) -> int:
    """Number of cells along a side of ``pixels`` px; the last one may be cut by the border."""
    return math.ceil(pixels / CELL)


def severity_of(scores: Tensor) -> Tensor:
    """Severity s = (5 − Q)/4."""
    return ((5 - scores) / 4).clamp(0, 1)


def pixel_mask(restore_mask: Tensor, height: int, width: int) -> Tensor:
    """The restore mask [h, w] per cell as [height, width] per pixel, interpolated between cell centres; 0 = keep."""
    fine = F.interpolate(restore_mask[None, None], scale_factor=CELL, mode="bilinear", align_corners=False)
    return fine[0, 0, :height, :width]


def block_of(mask: Tensor, top: int, bottom: int, left: int, right: int) -> Tensor:
    """A block [1, bottom − top, right − left] of a mask [1, H, W]; beyond the mask its border goes on."""
    rows, columns = (
        torch.arange(*ends).clamp(max=side - 1) for ends, side in zip(((top, bottom), (left, right)), mask.shape[1:], strict=True)
    )
    return mask[:, rows][:, :, columns]


def mirrored(length: int, start: int, stop: int) -> Tensor:
    """Indices of ``start``:``stop`` in a side of ``length`` px that is continued by reflection, for any length ≥ 1."""
    if length == 1:
        return torch.zeros(stop - start, dtype=torch.long)
    position = torch.arange(start, stop) % (2 * length - 2)
    return torch.where(position < length, position, 2 * length - 2 - position)
