"""This module compresses: JPEG once, JPEG twice on shifted grids, and WebP.

Severity (our definition): s = ((95 − q)/90)^1.5 for JPEG of quality q (Pillow's scale, clamped to 5-95): q 10 gives 0.92, 20
gives 0.76, 40 gives 0.48 and 80 gives 0.07. Of two compressions the stronger decides. WebP has the severity of the JPEG, with
colours at half size, that leaves the same mean PSNR (measured on 24 photos).

Codecs run on the CPU whatever the device of the picture: their output must be what files really hold. A differentiable codec is
no substitute, because it rounds incompletely: kornia's leaves 0.9 dB less error than Pillow at every quality from 10 to 80.

Sources of ranges: q 10-40 (LIVE1 and Classic5 as tested by ARCNN, Dong et al., ICCV 2015), q 30-95 (BSRGAN and Real-ESRGAN, ICCV
2021), q 10-95 and JPEG twice on shifted grids (FBCNN, Jiang et al., ICCV 2021), here q 5-95.
"""

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .draws import Draws

_WEBP = (0, 1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)
_LIKE_JPEG = (7, 11, 16, 21, 33, 47, 59, 67, 73, 78, 85, 93, 95)
"""Qualities of WebP, and the qualities of JPEG that leave the same mean PSNR."""


def compress(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Compress a picture with a randomly chosen generator; JPEG once is chosen in two thirds of the draws.

    The function takes a picture [3, H, W] in [0, 1] and the severity asked for, in (0, 1]. It returns the compressed picture
    [3, H, W] in [0, 1] and the severity [1, H, W] in [0, 1], which is the same everywhere.
    """
    name = draws.choose("jpeg", "jpeg", "jpeg", *GENERATORS)
    return GENERATORS[name](picture, severity, draws)


def quality_of(severity: float) -> int:
    """Return the JPEG quality, 5 to 95, that a severity in [0, 1] stands for."""
    return max(5, min(95, round(95 - 90 * severity ** (1 / 1.5))))


def severity_of_quality(quality: float) -> float:
    """Return the severity of a JPEG quality from 0 to 100; this inverts :func:`quality_of`."""
    return max(0.0, min(1.0, (95 - quality) / 90)) ** 1.5


def encoded_as(picture: Tensor, kind: str, **options: int) -> Tensor:
    """Return a picture [3, H, W] in [0, 1] as Pillow writes it, with its options, in format "JPEG" or "WEBP", and reads it."""
    pixels = (picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    with Image.open(buffer) as found:
        pixels = np.asarray(found.convert("RGB")).copy()
    return torch.from_numpy(pixels).permute(2, 0, 1).to(picture) / 255


def _everywhere(picture: Tensor, severity: float) -> Tensor:
    return torch.full_like(picture[:1], severity)


def _jpeg(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Compress once as JPEG, with the colours at full size, at half the width, or (most often) at half of both sides."""
    quality = quality_of(severity)
    found = encoded_as(picture, "JPEG", quality=quality, subsampling=draws.choose(0, 1, 2, 2, 2))
    return found, _everywhere(picture, severity_of_quality(quality))


def _twice(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Compress twice as JPEG, the first time on a shifted grid of blocks, as happens to a picture that was cropped in between."""
    quality = quality_of(severity)
    other = min(97, quality + int(draws.uniform(0, 40)))
    first, second = (quality, other) if draws.chance(0.5) else (other, quality)
    top, left = int(draws.uniform(0, 8)), int(draws.uniform(0, 8))
    larger = F.pad(picture[None], (left, 0, top, 0), mode="replicate")[0]
    once = encoded_as(larger, "JPEG", quality=first, subsampling=draws.choose(0, 2))[:, top:, left:]
    twice = encoded_as(once, "JPEG", quality=second, subsampling=draws.choose(0, 2))
    return twice, _everywhere(picture, severity_of_quality(quality))


def _webp(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Compress as WebP, whose prediction and smoothing leave smears where JPEG leaves blocks."""
    quality = round(float(np.interp(quality_of(severity), _LIKE_JPEG, _WEBP)))
    found = encoded_as(picture, "WEBP", quality=quality, method=draws.choose(0, 1, 4))
    return found, _everywhere(picture, severity_of_quality(float(np.interp(quality, _WEBP, _LIKE_JPEG))))


GENERATORS = {"jpeg": _jpeg, "twice": _twice, "webp": _webp}
"""The generators of compression by name."""
