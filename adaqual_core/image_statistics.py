"""This module computes statistics of a whole picture: levels, detail and a thumbnail (our definition). From them a network can
tell damage from, for example, another time of day."""

import torch
import torch.nn.functional as F
from torch import Tensor

_QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)
_THUMBNAIL = 8
_SCALES = 3
LEVELS = 5 * len(_QUANTILES)
LEVELS_AND_DETAIL = LEVELS + 3 * (_SCALES + 2)
"""Number of values per picture that :func:`levels_and_detail` returns."""
STATISTICS = 2 + LEVELS_AND_DETAIL + 3 * _THUMBNAIL**2
"""Number of global statistics per picture: mean and spread of severity, levels and detail, an 8×8 thumbnail."""


def _quantiles(x: Tensor) -> Tensor:
    shares = torch.tensor(_QUANTILES, dtype=x.dtype, device=x.device)
    return torch.quantile(x.flatten(2), shares, dim=2).permute(1, 2, 0).flatten(1)


def _detail_energies(picture: Tensor) -> Tensor:
    """Return the logarithms of the mean energies of the detail at 1, 2 and 4 px, and of the median energies of the two finest.

    Noise shows in mean and median, texture mostly in the mean. Pictures [B, 3, H, W] give [B, 3·(_SCALES + 2)] in about [0, 1].
    """
    means, medians, level = [], [], picture
    for scale in range(_SCALES):
        level = F.pad(level, (0, level.shape[-1] % 2, 0, level.shape[-2] % 2), mode="replicate")
        a, b, c, d = (level[..., y::2, x::2] for y in (0, 1) for x in (0, 1))
        diagonal = (a - b - c + d).abs() / 2
        means.append((((a - b + c - d).abs() + (a + b - c - d).abs()) / 2 + diagonal).mean((2, 3)) / 3)
        if scale < 2:
            medians.append(_sampled(diagonal).flatten(2).median(2).values)
        level = (a + b + c + d) / 4
    return torch.log(torch.cat(means + medians, 1) + 1e-3) / 7 + 1


def _sampled(x: Tensor) -> Tensor:
    """Return every n-th row and column, so that at most 512 of each remain."""
    return x[..., :: -(-x.shape[-2] // 512), :: -(-x.shape[-1] // 512)]


def levels_and_detail(picture: Tensor) -> Tensor:
    """Return levels and detail [B, LEVELS_AND_DETAIL] of pictures [B, 3, H, W] in [0, 1] (our definition).

    They are quantiles of the colours, quantiles of the darkest and of the brightest colour of each pixel, and the strength of the
    detail at 1, 2 and 4 px. Haze, darkness, noise and blur change them.
    """
    small = F.adaptive_avg_pool2d(picture, (min(64, picture.shape[-2]), min(64, picture.shape[-1])))
    pixels = _sampled(picture)
    extremes = torch.cat((pixels.amin(1, keepdim=True), pixels.amax(1, keepdim=True)), 1)
    return torch.cat((_quantiles(small), _quantiles(extremes), _detail_energies(picture)), 1)


def joined_statistics(picture: Tensor, severity: Tensor, levels: Tensor) -> Tensor:
    """Return the statistics [B, STATISTICS] of pictures whose :func:`levels_and_detail` are known.

    ``picture`` [B, 3, H, W] in [0, 1]; ``severity`` [B, 1, h, w] in [0, 1]; ``levels`` [B, LEVELS_AND_DETAIL].
    """
    flat = severity.flatten(1)
    spread = flat.std(1, unbiased=False) if flat.shape[1] > 1 else torch.zeros(len(flat))
    thumbnail = F.adaptive_avg_pool2d(picture, _THUMBNAIL).flatten(1)
    return torch.cat((flat.mean(1, keepdim=True), spread[:, None], levels, thumbnail), 1)


def global_statistics(picture: Tensor, severity: Tensor) -> Tensor:
    """Return the statistics [B, STATISTICS] of pictures [B, 3, H, W] in [0, 1] with severity [B, 1, h, w] (our definition).

    They are computed from the whole picture, so they do not depend on tiles; its size changes them hardly.
    """
    return joined_statistics(picture, severity, levels_and_detail(picture))
