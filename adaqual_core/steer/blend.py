"""Several versions of one picture into one, without seams: multi-band blending (Burt and Adelson 1983), best per region.

Each frequency band is mixed over a width that suits it: colours slowly, detail sharply.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..default_dtype import float32_default
from ..filters import gaussian_blur
from ..quality.map import QualityMap


def enlarged(field: Tensor, height: int, width: int) -> Tensor:
    """[B, C, h, w] at another size: bicubic when enlarged, averaged over areas when reduced; clamped to its own range."""
    if tuple(field.shape[-2:]) == (height, width):
        return field
    if field.shape[-2] >= height and field.shape[-1] >= width:
        return F.interpolate(field, (height, width), mode="area")
    return F.interpolate(field, (height, width), mode="bicubic", align_corners=False).clamp(field.min(), field.max())


def check_proportions(name: str, size: tuple[int, int], wanted: tuple[int, int]) -> None:
    """Raise ValueError unless two sizes (height, width) differ by one factor, to within a pixel of the smaller."""
    small, large = sorted((size, wanted))
    factors = [(b / (a + 1), b / max(a - 1, 0.5)) for a, b in zip(small, large, strict=True)]
    if max(low for low, _ in factors) > min(high for _, high in factors):
        raise ValueError(
            f"{name}: {size[1]}×{size[0]} px beside {wanted[1]}×{wanted[0]} px is not the same picture at another scale; "
            "connect versions of one picture, uncropped"
        )


def _reduced(field: Tensor) -> Tensor:
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=field.dtype, device=field.device) / 16
    kernel = (kernel[:, None] * kernel).expand(field.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(field, (2, 2, 2, 2), mode="replicate"), kernel, stride=2, groups=field.shape[1])


@float32_default()
def multiband(pictures: Tensor, weights: Tensor, levels: int) -> Tensor:
    """Versions [N, C, H, W] and weights [N, 1, H, W] (sum 1 at each pixel) → one picture [C, H, W] in the versions' range.

    ``levels`` bands beside the coarsest; 0 is a plain weighted mean. Detail is mixed where the weights cross, and each
    coarser band over twice the width: up to about 2^(levels + 1) px. Equal versions give themselves.
    """
    if levels < 0:
        raise ValueError(f"levels: {levels}; give at least 0")
    low, high = pictures.min(), pictures.max()
    bands, sizes = [], []
    while len(bands) < levels and min(pictures.shape[-2:]) >= 4:
        smaller = _reduced(pictures)
        detail = pictures - F.interpolate(smaller, pictures.shape[-2:], mode="bilinear", align_corners=False)
        bands.append((detail * weights).sum(0, keepdim=True))
        sizes.append(pictures.shape[-2:])
        pictures, weights = smaller, _reduced(weights)
    result = (pictures * weights).sum(0, keepdim=True)
    for band, size in zip(reversed(bands), reversed(sizes), strict=True):
        result = F.interpolate(result, size, mode="bilinear", align_corners=False) + band
    return result[0].clamp(low, high)


@float32_default()
def blend(original: Tensor, processed: Tensor, restored_part: Tensor, levels: int) -> Tensor:
    """Put the original [C, h, w] back into the processed [C', H, W] where ``restored_part`` [1, 1, h', w'] in [0, 1] is 0.

    The result has the processed picture's size, and its alpha, or the original's where only that has one.
    """
    height, width = processed.shape[-2:]
    check_proportions("original", tuple(original.shape[-2:]), (height, width))
    original = enlarged(original[None], height, width)[0]
    if len(original) != len(processed):
        alpha = processed[3:] if len(processed) == 4 else original[3:]
        original, processed = (torch.cat((one[:3], alpha)) for one in (original, processed))
    weight = F.interpolate(restored_part, (height, width), mode="bilinear", align_corners=False).clamp(0, 1)
    return multiband(torch.stack((original, processed)), torch.cat((1 - weight, weight)), levels)


def choose(maps: Sequence[QualityMap]) -> Tensor:
    """Which of N versions is best in each cell, judged by one map each: [h, w] of indices; the first wins a tie.

    The scores are smoothed over a cell, so that noise in the judgement does not scatter the choice, and half of the mean over
    four cells is added: where versions are alike, the one that is better around wins, and regions hold together.
    """
    rows, columns = maps[0].cells().shape[-2:]
    scores = [one.resized(rows, columns)[0] for one in maps]
    return torch.cat([gaussian_blur(one, 1.0) + gaussian_blur(one, 4.0) / 2 for one in scores]).argmax(0)


def _opaque(picture: Tensor, channels: int) -> Tensor:
    """A picture [3 or 4, H, W] with that many channels: where alpha is missing, it is 1."""
    return picture if len(picture) == channels else torch.cat((picture, torch.ones_like(picture[:1])))


@float32_default()
def best_per_region(versions: Sequence[Tensor], maps: Sequence[QualityMap], levels: int) -> tuple[Tensor, Tensor]:
    """The best of each region of N versions [C, H_n, W_n]: the picture at the largest size, and the choice [H, W] of indices.

    ``maps`` judge the versions at their own sizes, one picture each. If any version has alpha the result has, and versions
    without it count as opaque.
    """
    if len(versions) < 2 or len(versions) != len(maps):
        raise ValueError(f"versions: {len(versions)} with {len(maps)} maps; give at least two, and a map for each")
    height, width = max(tuple(one.shape[-2:]) for one in versions)
    for index, one in enumerate(versions):
        check_proportions(f"version {index + 1}", tuple(one.shape[-2:]), (height, width))
    channels = max(len(one) for one in versions)
    stacked = torch.cat([enlarged(_opaque(one, channels)[None], height, width) for one in versions])
    chosen = choose(maps)
    parts = F.one_hot(chosen, len(versions)).movedim(-1, 0)[:, None].float()
    weights = F.interpolate(parts, (height, width), mode="bilinear", align_corners=False)
    places = F.interpolate(chosen[None, None].float(), (height, width), mode="nearest")[0, 0]
    return multiband(stacked, weights, levels), places.long()
