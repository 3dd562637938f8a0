"""This module computes local quality beside a clean original: the target that the assessors learn (our definition).

For each cell, Q = 5 − 4·s with s = (p + c)/2. p falls linearly from 1 at 10 dB of local PSNR to 0 at 45 dB, because errors below
45 dB cannot be seen. c is 1 minus the contrast-structure term of SSIM on luma (Wang et al. 2004, σ = 1.5 px). p responds to
colour, exposure and noise; c to texture, blur and streaks where the error is small.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..filters import gaussian_line, luma
from ..grid import CELL, quality_of


def _window(field: Tensor, sigma: float = 1.5, radius: int = 5) -> Tensor:
    kernel = gaussian_line(sigma, radius, field)
    field = F.pad(field, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(field, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


def contrast_structure(first: Tensor, second: Tensor) -> Tensor:
    """Return the contrast-structure term of SSIM, [B, 1, H, W] in [−1, 1], of two lumas [B, 1, H, W] in [0, 1]."""
    mean1, mean2 = _window(first), _window(second)
    var1 = _window(first * first) - mean1 * mean1
    var2 = _window(second * second) - mean2 * mean2
    covariance = _window(first * second) - mean1 * mean2
    constant = 0.03**2
    return (2 * covariance + constant) / (var1 + var2 + constant)


def reference_quality(degraded: Tensor, clean: Tensor) -> Tensor:
    """Return the quality [B, 1, ceil(H/16), ceil(W/16)] in [1, 5] of ``degraded`` beside ``clean``, both [B, 3, H, W] in [0,
    1]."""
    error = (degraded - clean).square().mean(1, keepdim=True)
    structure = 1 - contrast_structure(luma(degraded), luma(clean))
    error = F.avg_pool2d(error, CELL, CELL, ceil_mode=True, count_include_pad=False)
    error = (error + F.avg_pool2d(error, 3, 1, 1, count_include_pad=False)) / 2
    structure = F.avg_pool2d(structure.clamp(0, 1), CELL, CELL, ceil_mode=True, count_include_pad=False)
    psnr = -10 * torch.log10(error.clamp_min(1e-6))
    severity = (((45 - psnr) / 35).clamp(0, 1) + structure) / 2
    return quality_of(severity)
