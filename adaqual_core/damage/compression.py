"""Compression: JPEG once, JPEG twice on shifted grids, and WebP.

Severity (our definition): s = ((95 − q)/90)^1.5 for JPEG of quality q (Pillow's scale, clamped to 5-95): q 10 gives 0.92, 20 gives 0.76,
40 gives 0.48 and 80 gives 0.07. Of two compressions the stronger decides. WebP of quality w is given the severity of JPEG of quality
0.6·w + 25, which leaves about the same error.

Sources of ranges: q 10-40 (LIVE1 and Classic5 protocols; ARCNN, ICCV 2015), q 30-95 (BSRGAN, Real-ESRGAN), here 5-95.
"""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .draws import Draws


def compress(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Compression by one of the generators.

    Takes a picture [3, H, W] in [0, 1] and the severity asked for, in (0, 1]; returns the compressed picture [3, H, W] in [0, 1] and
    the severity [1, H, W] in [0, 1], which is the same everywhere. Codecs run on the CPU, whatever the device of the picture.
    """
    name = draws.choose("jpeg", "jpeg", "jpeg", *GENERATORS)
    return GENERATORS[name](picture, severity, draws)


def quality_of(severity: float) -> int:
    """JPEG quality, 5 to 95, that a severity stands for."""
    return max(5, min(95, round(95 - 90 * severity ** (1 / 1.5))))


def severity_of_quality(quality: float) -> float:
    """Severity of a JPEG quality: the inverse of :func:`quality_of`."""
    return max(0.0, min(1.0, (95 - quality) / 90)) ** 1.5


def _pixels(picture: Tensor) -> np.ndarray:
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def encoded_as(picture: Tensor, kind: str, **options) -> Tensor:
    """A picture [3, H, W] in [0, 1] as Pillow writes and reads it in format ``kind`` ("JPEG" or "WEBP") with its own options."""
    buffer = io.BytesIO()
    Image.fromarray(_pixels(picture)).save(buffer, kind, **options)
    with Image.open(buffer) as found:
        pixels = np.asarray(found.convert("RGB")).copy()
    return torch.from_numpy(pixels).permute(2, 0, 1).to(picture) / 255


def _same_everywhere(picture: Tensor, severity: float) -> Tensor:
    return torch.full_like(picture[:1], severity)


def _jpeg(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """JPEG once, its colours at full or half size."""
    quality = quality_of(severity)
    found = encoded_as(picture, "JPEG", quality=quality, subsampling=draws.choose(0, 1, 2, 2, 2))
    return found, _same_everywhere(picture, severity_of_quality(quality))


def _twice(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """JPEG twice, the second time on a grid that is shifted, as after cropping a picture from the web."""
    quality = quality_of(severity)
    other = min(97, quality + int(draws.uniform(0, 40)))
    first, second = (quality, other) if draws.chance(0.5) else (other, quality)
    shift = (int(draws.uniform(0, 8)), int(draws.uniform(0, 8)))
    once = encoded_as(picture, "JPEG", quality=first, subsampling=draws.choose(0, 2))
    moved = encoded_as(torch.roll(once, shift, (1, 2)), "JPEG", quality=second, subsampling=draws.choose(0, 2))
    return torch.roll(moved, (-shift[0], -shift[1]), (1, 2)), _same_everywhere(picture, severity_of_quality(quality))


def _webp(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """WebP, whose prediction and deblocking leave smears instead of blocks."""
    quality = max(1, min(95, round((quality_of(severity) - 25) / 0.6)))
    found = encoded_as(picture, "WEBP", quality=quality, method=1)
    return found, _same_everywhere(picture, severity_of_quality(0.6 * quality + 25))


GENERATORS = {"jpeg": _jpeg, "twice": _twice, "webp": _webp}
"""Name → generator."""
