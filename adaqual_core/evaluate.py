"""This module measures pictures beside their clean originals, and evaluates a folder of degraded pictures.

PSNR and SSIM are computed on RGB in [0, 1]. That is the protocol of CDD-11; papers on weather use the Y channel instead. SSIM is
as ``skimage.metrics`` computes it with Gaussian weights, σ = 1.5 px and population covariance (Wang et al. 2004).
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import PictureError
from .filters import gaussian_line
from .imageio import find_pictures, picture_shape, read_picture

BEST_PSNR = 100.0
"""PSNR in dB that equal pictures get, so that averages stay finite."""

_RADIUS = 5
SMALLEST = 2 * _RADIUS + 1
"""Shortest side in px for which SSIM is defined: the side of its window."""


def _check(first: Tensor, second: Tensor) -> None:
    if first.ndim != 4 or first.shape != second.shape:
        raise ValueError(f"pictures: shapes {tuple(first.shape)} and {tuple(second.shape)}; give equal [B, C, H, W]")


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """Return the peak signal to noise ratio [B] in dB of pictures [B, C, H, W] in [0, 1], at most :data:`BEST_PSNR`."""
    _check(first, second)
    error = (first.double() - second.double()).square().mean((1, 2, 3))
    return -10 * torch.log10(error.clamp_min(10 ** (-BEST_PSNR / 10)))


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Return the structural similarity [B] of pictures [B, C, H, W] in [0, 1], averaged over channels and over windows that
    fit."""
    _check(first, second)
    if min(first.shape[-2:]) < SMALLEST:
        height, width = first.shape[-2:]
        raise ValueError(f"pictures: {height}×{width}; SSIM needs at least {SMALLEST} px on both sides")
    a, b = (picture.double().flatten(0, 1)[:, None] for picture in (first, second))
    kernel = gaussian_line(1.5, _RADIUS, a)

    def mean(field: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(field, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))

    mean_a, mean_b = mean(a), mean(b)
    variances = mean(a * a) - mean_a**2 + mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similarity = similarity / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))
    return similarity.mean((1, 2, 3)).view(first.shape[:2]).mean(1)


@dataclass(frozen=True)
class Pair:
    """A degraded file, its clean original, and the name of its class."""

    group: str
    degraded: Path
    clean: Path


@dataclass(frozen=True)
class Measures:
    """What restoring changed, for one picture or on average: PSNR in dB, SSIM, and quality, the assessor's mean score in [1,
    5]."""

    psnr_before: float
    psnr_after: float
    psnr_gain: float
    ssim_before: float
    ssim_after: float
    ssim_gain: float
    quality_before: float
    quality_after: float


def find_pairs(clean: Path, degraded: Path) -> list[Pair]:
    """Return each degraded picture with the clean one of the same name; endings may differ.

    Degraded pictures lie in ``degraded`` itself or in one folder per class. :class:`PictureError` is raised before any work if a
    partner is missing or has another size.
    """
    originals = {path.stem: path for path in find_pictures(clean)}
    if not degraded.is_dir():
        raise PictureError(f"{degraded}: no such folder; give the folder of the degraded pictures")
    groups = [degraded, *sorted(path for path in degraded.iterdir() if path.is_dir())]
    groups = [group for group in groups if find_pictures(group, required=False)]
    pairs = []
    for group in groups:
        for path in find_pictures(group):
            if path.stem not in originals:
                raise PictureError(f"{path}: no picture named {path.stem} in {clean}; give each its clean original")
            pairs.append(Pair(group.name, path, originals[path.stem]))
    if not pairs:
        raise PictureError(f"{degraded}: no pictures in it or in its folders; give PNG, JPEG, WebP, TIFF or BMP files")
    for pair in pairs:
        height, width = picture_shape(pair.degraded)[1:]
        if (height, width) != picture_shape(pair.clean)[1:]:
            raise PictureError(f"{pair.degraded}: {width}×{height} px; its original {pair.clean} has another size")
        if min(height, width) < SMALLEST:
            raise PictureError(f"{pair.degraded}: {width}×{height} px; SSIM needs at least {SMALLEST} px on both sides")
    return pairs


def measure(pair: Pair, restored: Callable[[Tensor], tuple[Tensor, float, float]]) -> Measures:
    """Restore one picture, round it to 8 bits as it would be written, and compare it with its original.

    ``restored`` maps a picture [1, 3, H, W] in [0, 1] to the restored picture and the assessor's mean scores before and after.
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
    """Return a text table with one line for each class and one for the average over all pictures."""
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
