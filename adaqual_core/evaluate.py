"""This module has full-reference measures, and evaluates degraded pictures beside their clean originals.

PSNR and SSIM are those of RGB in [0, 1] (the protocol of CDD-11, not the Y channel of the weather papers), as
``skimage.metrics`` computes them with Gaussian weights, σ = 1.5 px and population covariance (Wang et al. 2004).
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from .imageio import read_picture
from .pictures.pairs import SMALLEST, Pair

BEST_PSNR = 100.0
"""What equal pictures get, in dB, so that averages stay finite."""

_RADIUS = SMALLEST // 2


def _check(first: Tensor, second: Tensor) -> None:
    if first.ndim != 4 or first.shape != second.shape:
        raise ValueError(f"pictures: shapes {tuple(first.shape)} and {tuple(second.shape)}; give equal [B, C, H, W]")


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """Return the peak signal to noise ratio [B] in dB of pictures [B, C, H, W] in [0, 1], at most :data:`BEST_PSNR`."""
    _check(first, second)
    error = (first.double() - second.double()).square().mean((1, 2, 3))
    return -10 * torch.log10(error.clamp_min(10 ** (-BEST_PSNR / 10)))


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Return the structural similarity [B] of pictures [B, C, H, W] in [0, 1], averaged over channels and whole windows."""
    _check(first, second)
    if min(first.shape[-2:]) < SMALLEST:
        height, width = first.shape[-2:]
        raise ValueError(f"pictures: {height}×{width}; SSIM needs at least {SMALLEST} px on both sides")
    x = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float64, device=first.device)
    kernel = torch.exp(-0.5 * (x / 1.5) ** 2)
    kernel = kernel / kernel.sum()

    def mean(field: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(field, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))

    a, b = (picture.double().flatten(0, 1)[:, None] for picture in (first, second))
    mean_a, mean_b = mean(a), mean(b)
    variances = mean(a * a) - mean_a**2 + mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similarity = similarity / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))
    return similarity.mean((1, 2, 3)).view(first.shape[:2]).mean(1)


@dataclass(frozen=True)
class Measures:
    """This class says what restoring one picture, or the average of several, changed; quality is the assessor's mean score."""

    psnr_before: float
    psnr_after: float
    psnr_gain: float
    ssim_before: float
    ssim_after: float
    ssim_gain: float
    quality_before: float
    quality_after: float


def measure(pair: Pair, restored: Callable[[Tensor], tuple[Tensor, float, float]]) -> Measures:
    """Restore one picture and compare it, rounded to 8 bit as it would be written, with its original.

    ``restored``: picture [1, 3, H, W] in [0, 1] → (restored picture, assessor's mean score before, after).
    """
    clean, before = (read_picture(path)[:, :3] for path in (pair.clean, pair.degraded))
    after, quality_before, quality_after = restored(before)
    after = (after.clamp(0, 1) * 255).round() / 255
    psnr_before, psnr_after = (float(psnr(picture, clean)) for picture in (before, after))
    ssim_before, ssim_after = (float(ssim(picture, clean)) for picture in (before, after))
    return Measures(
        psnr_before=psnr_before,
        psnr_after=psnr_after,
        psnr_gain=psnr_after - psnr_before,
        ssim_before=ssim_before,
        ssim_after=ssim_after,
        ssim_gain=ssim_after - ssim_before,
        quality_before=quality_before,
        quality_after=quality_after,
    )


def average(measures: Iterable[Measures]) -> Measures:
    """Return the mean of every measure over pictures."""
    rows = torch.tensor([list(asdict(one).values()) for one in measures], dtype=torch.float64)
    return Measures(*rows.mean(0).tolist())


def table(groups: dict[str, list[Measures]]) -> str:
    """Return text with one line per class and one for the average over all pictures."""
    everything = [one for group in groups.values() for one in group]
    width = max(len(name) for name in (*groups, "average"))
    titles = ("psnr", "restored", "gain", "ssim", "restored", "gain", "quality", "restored")
    lines = [f"{'class':{width}}  pictures" + "".join(f"{title:>10}" for title in titles)]
    for name, group in (*groups.items(), ("average", everything)):
        mean = average(group)
        places = [4 if field.name.startswith("ssim") else 2 for field in fields(Measures)]
        numbers = zip(asdict(mean).values(), places, strict=True)
        lines.append(f"{name:{width}}  {len(group):8}" + "".join(f"{value:10.{n}f}" for value, n in numbers))
    return "\n".join(lines)
