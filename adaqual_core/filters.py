"""This module filters pictures and fields [C, H, W]."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the luma of ITU-R BT.601."""


def luma(picture: Tensor) -> Tensor:
    """Return the BT.601 luma [..., 1, H, W] of RGB pictures [..., 3, H, W]."""
    red, green, blue = picture.unbind(-3)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue).unsqueeze(-3)


def smoothstep(low: float, high: float, field: Tensor) -> Tensor:
    """Map a field to 0 where it is at most ``low``, to 1 where it is at least ``high``, and along a smooth cubic between them."""
    x = ((field - low) / (high - low)).clamp(0, 1)
    return x * x * (3 - 2 * x)


def box_filter(field: Tensor, radius: int) -> Tensor:
    """Return the mean of [C, H, W] over windows of (2·radius + 1)² px; at the border only pixels of the picture are averaged."""
    if radius < 1:
        return field
    k = 2 * radius + 1
    across = F.avg_pool2d(field[None], (1, k), 1, (0, radius), count_include_pad=False)
    return F.avg_pool2d(across, (k, 1), 1, (radius, 0), count_include_pad=False)[0]


def gaussian_line(sigma: float, radius: int, like: Tensor) -> Tensor:
    """Return a Gaussian of standard deviation ``sigma`` at the offsets −radius to radius in px, [2·radius + 1] of sum 1.

    It has the type and the device of ``like``.
    """
    x = torch.arange(-radius, radius + 1, dtype=like.dtype, device=like.device)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    return kernel / kernel.sum()


def gaussian_blur(picture: Tensor, sigma: float) -> Tensor:
    """Blur [C, H, W] with a Gaussian of standard deviation ``sigma`` in px; the border pixels are repeated outside."""
    if sigma < 0.05:
        return picture
    radius = max(1, math.ceil(3 * sigma))
    kernel = gaussian_line(sigma, radius, picture)
    padded = F.pad(picture[None], (radius, radius, radius, radius), mode="replicate").transpose(0, 1)
    padded = F.conv2d(padded, kernel.view(1, 1, 1, -1))
    return F.conv2d(padded, kernel.view(1, 1, -1, 1)).transpose(0, 1)[0]
