"""This module blurs: soft lenses, defocus, motion along a line or a curve, and pictures made smaller and large again.

Severity (our definition): s = min(1, √(σ/4)), where σ is the standard deviation in px of the kernel along its worst direction,
measured on the kernel itself: a disc of radius r has σ = r/2 and a line of length l has σ = l/√12. Resampling by a factor f
counts as σ = √(f² − 1)/2. No kernel is made narrower than about σ = 0.3, below which nothing is seen: s is at least about 0.25.

Sources of ranges: round and elliptical Gaussian kernels of σ 0.1-3 and resampling by 0.15-1.5 (BSRGAN and Real-ESRGAN, ICCV
2021), here σ up to 4 and resampling down to 0.15; random camera trajectories (Boracchi and Foi, TIP 2012; DeblurGAN, CVPR
2018).
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .draws import Draws

_FINER = 4
"""Kernels are evaluated at this many points per px and averaged."""


def blur(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Blur a picture with a randomly chosen generator.

    The function takes a picture [3, H, W] in [0, 1] and the severity asked for, in (0, 1]. It returns the blurred picture
    [3, H, W] in [0, 1] and the severity [1, H, W] in [0, 1], which is the same everywhere.
    """
    return draws.choose(*GENERATORS.values())(picture, severity, draws)


def sigma_of(severity: float) -> float:
    """Return the standard deviation in px that a severity in [0, 1] stands for, at least 0.3."""
    return max(0.3, 4 * severity**2)


def worst_sigma(kernel: Tensor) -> float:
    """Return the standard deviation in px of a kernel [k, k] of sum 1 along the direction in which it is widest."""
    x = torch.arange(len(kernel), dtype=kernel.dtype, device=kernel.device)
    rows, columns = kernel.sum(1), kernel.sum(0)
    y_mean, x_mean = (rows * x).sum(), (columns * x).sum()
    y_var = (rows * (x - y_mean) ** 2).sum()
    x_var = (columns * (x - x_mean) ** 2).sum()
    both = ((x - y_mean)[:, None] * (x - x_mean)[None] * kernel).sum()
    return math.sqrt(float((y_var + x_var) / 2 + (((y_var - x_var) / 2) ** 2 + both**2).sqrt()))


def _filtered(picture: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Filter a picture, mirrored at its borders, with a kernel [k, k] of any positive sum, k odd; return the severity too."""
    kernel = kernel / kernel.sum()
    margin = len(kernel) // 2
    mode = "reflect" if margin < min(picture.shape[-2:]) else "replicate"
    padded = F.pad(picture[None], (margin,) * 4, mode=mode).transpose(0, 1)
    blurred = F.conv2d(padded, kernel[None, None]).transpose(0, 1)[0]
    return blurred.clamp(0, 1), _everywhere(picture, worst_sigma(kernel))


def _everywhere(picture: Tensor, sigma: float) -> Tensor:
    return torch.full_like(picture[:1], min(1.0, math.sqrt(sigma / 4)))


def _drawn(density: Callable[[Tensor, Tensor], Tensor], reach: float, device: torch.device) -> Tensor:
    """Return the kernel [k, k] of a density, a function of the offsets y and x in px, that vanishes beyond ``reach`` px."""
    side = 2 * math.ceil(reach) + 1
    x = ((torch.arange(side * _FINER, device=device) + 0.5) / _FINER) - side / 2
    return F.avg_pool2d(density(x[:, None], x[None])[None, None], _FINER)[0, 0]


def _gaussian(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Blur with a round Gaussian kernel, row by row and column by column."""
    sigma = sigma_of(severity)
    line = _drawn(lambda y, x: torch.exp(-0.5 * (x / sigma) ** 2) + 0 * y, 3 * sigma + 0.5, picture.device)[0]
    line = line / line.sum()
    margin = len(line) // 2
    padded = F.pad(picture[None], (margin,) * 4, mode="replicate").transpose(0, 1)
    blurred = F.conv2d(F.conv2d(padded, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1)).transpose(0, 1)[0]
    return blurred.clamp(0, 1), _everywhere(picture, worst_sigma(line[:, None] * line))


def _anisotropic(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Blur with a Gaussian kernel that is wider along one direction than across it."""
    sigma, angle = sigma_of(severity), draws.uniform(0, math.pi)
    across = sigma * draws.uniform(0.1, 0.7)
    sin, cos = math.sin(angle), math.cos(angle)

    def density(y: Tensor, x: Tensor) -> Tensor:
        return torch.exp(-0.5 * (((y * sin + x * cos) / sigma) ** 2 + ((y * cos - x * sin) / max(across, 0.1)) ** 2))

    return _filtered(picture, _drawn(density, 3 * sigma + 0.5, picture.device))


def _defocus(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Blur with a disc, as which a lens out of focus shows a point; in some draws the edge of the disc is soft."""
    radius, edge = max(0.7, 2 * sigma_of(severity)), draws.choose(0.1, draws.uniform(0.1, 0.6))

    def density(y: Tensor, x: Tensor) -> Tensor:
        return ((1 - (y**2 + x**2).sqrt() / radius) / edge + 0.5).clamp(0, 1)

    return _filtered(picture, _drawn(density, radius * (1 + edge), picture.device))


def _along(path: Tensor) -> Tensor:
    """Return the kernel [k, k] of a path [n, 2], whose points (y, x) in px are all passed for equally long."""
    reach = math.ceil(float(path.abs().max()))
    grid = torch.arange(-reach, reach + 1, dtype=torch.float32, device=path.device)
    rows, columns = ((1 - (grid[None] - path[:, i : i + 1]).abs()).clamp_min(0) for i in (0, 1))
    return rows.T @ columns


def _path_sigma(severity: float) -> float:
    """Return the standard deviation in px of a path whose kernel has the one that the severity stands for.

    Sharing each point among the nearest pixels widens the kernel: by 1/6 px² where the path is long, by less where it is short.
    """
    sigma = sigma_of(severity)
    return math.sqrt(sigma**2 - 1 / 6) if sigma > 0.5 else 2 / math.sqrt(3) * sigma**2


def _motion(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Blur along a straight line, passed at constant speed, as a panned camera or a moving scene does."""
    length, angle = math.sqrt(12) * _path_sigma(severity), draws.uniform(0, math.pi)
    along = torch.linspace(-length / 2, length / 2, 8 * math.ceil(length), device=picture.device)
    return _filtered(picture, _along(torch.stack((along * math.sin(angle), along * math.cos(angle)), 1)))


def _shake(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Blur along a curve with random turns and a rare jerk, as a hand moves a camera during an exposure."""
    turn, heading = draws.uniform(0.02, 0.35), draws.uniform(0, 2 * math.pi)
    points, y, x = [], 0.0, 0.0
    for _ in range(48):
        points.append((y, x))
        heading += turn * draws.uniform(-1, 1) + (math.pi * draws.uniform(0.5, 1) if draws.chance(0.02) else 0)
        y, x = y + math.sin(heading), x + math.cos(heading)
    path = torch.tensor(points)
    path = path - path.mean(0)
    spread = torch.linalg.eigvalsh(path.T @ path / len(path))[-1].sqrt()
    return _filtered(picture, _along((path * (_path_sigma(severity) / spread)).to(picture.device)))


def _resampled(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Make a picture smaller and enlarge it again, each with one of several kernels."""
    height, width = picture.shape[-2:]
    factor = min(1 / 0.15, math.sqrt(1 + 4 * sigma_of(severity) ** 2))
    size = (max(1, round(height / factor)), max(1, round(width / factor)))
    reduce = draws.choose("area", "bilinear", "bicubic")
    enlarge = draws.choose("bilinear", "bicubic", "bicubic", "nearest" if factor < 2 else "bilinear")
    if reduce == "area":
        small = F.adaptive_avg_pool2d(picture[None], size)
    else:
        small = F.interpolate(picture[None], size, mode=reduce, antialias=True, align_corners=False)
    corners = None if enlarge == "nearest" else False
    back = F.interpolate(small, (height, width), mode=enlarge, align_corners=corners)[0]
    done = math.sqrt(height * width / (size[0] * size[1]))
    return back.clamp(0, 1), _everywhere(picture, math.sqrt(max(0.0, done**2 - 1)) / 2)


GENERATORS = {
    "gaussian": _gaussian,
    "anisotropic": _anisotropic,
    "defocus": _defocus,
    "motion": _motion,
    "shake": _shake,
    "resampled": _resampled,
}
"""The generators of blur by name."""
