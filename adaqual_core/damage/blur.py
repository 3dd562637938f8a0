"""Blur: six generators: a soft lens, defocus, motion along a line or a curve, and pictures made smaller and large again.

Severity (our definition): s = min(1, √(σ/4)), where σ is the standard deviation in px of the kernel along its worst direction: a disc
of radius r has σ = r/2, a line of length l has σ = l/√12, and resampling by a factor f has about σ = √(f² − 1)/2.

Sources of ranges: isotropic and anisotropic Gaussian kernels with σ 0.1-3 and resampling by 0.15-1.5 (BSRGAN, Real-ESRGAN, ICCV 2021);
random camera trajectories (Boracchi and Foi, TIP 2012; DeblurGAN, CVPR 2018).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..filters import gaussian_blur
from .draws import Draws
from .fields import disk_kernel, line_kernel


def blur(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Blur of one of the generators.

    Takes a picture [3, H, W] in [0, 1] and the severity asked for, in (0, 1]; returns the blurred picture [3, H, W] in [0, 1] and the
    severity [1, H, W] in [0, 1], which is the same everywhere.
    """
    return draws.choose(*GENERATORS.values())(picture, severity, draws)


def sigma_of(severity: float) -> float:
    """The standard deviation in px that a severity stands for."""
    return 4 * severity**2


def _finished(picture: Tensor, blurred: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    severity = min(1.0, math.sqrt(sigma / 4))
    return blurred.clamp(0, 1), torch.full_like(picture[:1], severity)


def _filtered(picture: Tensor, kernel: Tensor) -> Tensor:
    """A picture [3, H, W] filtered with a kernel [k, k] of sum 1, mirrored at the borders as far as it reaches."""
    margin = kernel.shape[-1] // 2
    height, width = picture.shape[-2:]
    padded = picture[None]
    while margin > 0:
        step = min(margin, min(padded.shape[-2:]) - 1) or 1
        padded = F.pad(padded, (step,) * 4, mode="reflect" if min(padded.shape[-2:]) > step else "replicate")
        margin -= step
    found = F.conv2d(padded.transpose(0, 1), kernel[None, None]).transpose(0, 1)[0]
    return found[:, :height, :width]


def _gaussian(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """A round Gaussian kernel."""
    sigma = sigma_of(severity)
    return _finished(picture, gaussian_blur(picture, sigma), sigma)


def _anisotropic(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """A Gaussian kernel that is wider along one direction than across it."""
    sigma = sigma_of(severity)
    across, angle = sigma * draws.uniform(0.1, 0.7), draws.uniform(0, math.pi)
    radius = max(1, math.ceil(3 * sigma))
    x = torch.arange(-radius, radius + 1, dtype=torch.float32, device=picture.device)
    along_axis = x[:, None] * math.sin(angle) + x[None] * math.cos(angle)
    across_axis = x[:, None] * math.cos(angle) - x[None] * math.sin(angle)
    kernel = torch.exp(-0.5 * ((along_axis / sigma) ** 2 + (across_axis / max(across, 0.2)) ** 2))
    return _finished(picture, _filtered(picture, kernel / kernel.sum()), sigma)


def _defocus(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """A disc, as an open lens out of focus draws a point; its edge is at times soft."""
    sigma = sigma_of(severity)
    kernel = disk_kernel(max(0.3, 2 * sigma), draws.uniform(0.7, 1.5), picture.device)
    return _finished(picture, _filtered(picture, kernel / kernel.sum()), sigma)


def _motion(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """A straight line, as a shaken camera or a moving scene draws a point."""
    sigma = sigma_of(severity)
    kernel = line_kernel(max(1.2, 1.55 * math.sqrt(12) * sigma), draws.uniform(0, math.pi), draws.uniform(0.6, 1.4), picture.device)
    return _finished(picture, _filtered(picture, kernel / kernel.sum()), sigma)


def _shake(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """A curved trajectory of random turns, as a hand draws it during an exposure."""
    sigma = sigma_of(severity)
    points, heading, y, x = [], draws.uniform(0, 2 * math.pi), 0.0, 0.0
    turn = draws.uniform(0.02, 0.35)
    for _ in range(48):
        points.append((y, x))
        heading += turn * draws.uniform(-1, 1) + (math.pi * draws.uniform(0.5, 1) if draws.chance(0.02) else 0)
        y, x = y + math.sin(heading), x + math.cos(heading)
    path = torch.tensor(points, device=picture.device)
    path = path - path.mean(0)
    spread = torch.linalg.eigvalsh(path.T @ path / len(path))[-1].sqrt().clamp_min(1e-3)
    path = path * (sigma / spread)
    radius = max(1, math.ceil(float(path.abs().max()) + 1))
    grid = torch.arange(-radius, radius + 1, dtype=torch.float32, device=picture.device)
    rows = (1 - (grid[None] - path[:, :1]).abs()).clamp_min(0)
    columns = (1 - (grid[None] - path[:, 1:]).abs()).clamp_min(0)
    kernel = rows.T @ columns
    return _finished(picture, _filtered(picture, kernel / kernel.sum()), sigma)


def _resampled(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """A picture made smaller and enlarged again, each with one of several kernels."""
    sigma = sigma_of(severity)
    height, width = picture.shape[-2:]
    factor = math.sqrt(1 + 4 * sigma**2)
    size = (max(2, round(height / factor)), max(2, round(width / factor)))
    mode = draws.choose("area", "bilinear", "bicubic")
    if mode == "area":
        small = F.adaptive_avg_pool2d(picture, size)
    else:
        small = F.interpolate(picture[None], size, mode=mode, antialias=True, align_corners=False)[0]
    back = draws.choose("bilinear", "bicubic", "bicubic", "nearest") if factor < 2 else draws.choose("bilinear", "bicubic")
    options = {} if back == "nearest" else {"align_corners": False}
    return _finished(picture, F.interpolate(small[None], (height, width), mode=back, **options)[0], sigma)


GENERATORS = {
    "gaussian": _gaussian,
    "anisotropic": _anisotropic,
    "defocus": _defocus,
    "motion": _motion,
    "shake": _shake,
    "resampled": _resampled,
}
"""Name → generator."""
