"""This module finds where one version of a picture lies in another: the whole at some scale, a centre crop, or the whole with a
margin added (our definition).

Autoencoders of diffusion models crop what they encode to multiples of 8 to 64 px around the centre (ComfyUI's VAE Encode: the
remainder of each side, halved and rounded down, goes at the top and left). Other nodes scale to such multiples, pad to them, or
crop to the proportions asked for. Sizes alone often leave several of these possible, so the contents decide between them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .default_dtype import float32_default
from .filters import box_filter
from .visible import filled

MULTIPLES = (8, 16, 32, 64)
"""Px to whose multiples models and nodes cut the sides of pictures."""

_SLIGHT = 1 / 8
"""Largest part of a side that may be cut off, added or stretched where neither a multiple nor the contents explain it."""

_AGREEMENT = 0.3
"""Least correlation of two versions of which one lacks more than _SLIGHT of a side of the other."""

_ADVANTAGE = 0.8
"""How much less must remain unexplained at another place for it to be preferred to the most plausible one."""

_COMPARED = 2**18
"""Px at which contents are compared: a shift of a pixel of a larger picture still shows, by interpolation."""


@dataclass(frozen=True)
class Region:
    """This class is a rectangle in px of a picture. It may reach beyond the picture."""

    top: float
    left: float
    height: float
    width: float

    def within(self, other: "Region", size: tuple[int, int]) -> "Region":
        """Return this region in px of a version of the picture that shows ``other`` and has ``size`` (height, width) px."""
        rows, columns = size[0] / other.height, size[1] / other.width
        return Region((self.top - other.top) * rows, (self.left - other.left) * columns, self.height * rows, self.width * columns)

    def excess(self, size: tuple[int, int]) -> float:
        """Return the largest part of a side of a picture of ``size`` that this region lacks or adds."""
        return max(abs(self.height / size[0] - 1), abs(self.width / size[1] - 1))


def size_of(picture: Tensor) -> tuple[int, int]:
    """Return the height and the width in px of a picture or mask [..., H, W]."""
    return picture.shape[-2], picture.shape[-1]


def whole(size: tuple[float, float]) -> Region:
    """Return the region that is all of a picture of ``size`` (height, width) px."""
    return Region(0, 0, *size)


def proportional(size: tuple[float, float], other: tuple[float, float]) -> bool:
    """Return whether two sizes (height, width) differ by one factor, to within a pixel of the smaller size."""
    small, large = sorted((size, other))
    factors = [(b / (a + 1), b / max(a - 1, 0.5)) for a, b in zip(small, large, strict=True)]
    return max(low for low, _ in factors) <= min(high for _, high in factors)


def _integral(size: tuple[float, float], other: tuple[float, float]) -> bool:
    """Return whether one of two sizes is a whole multiple of the other."""
    for (a, b), (c, d) in ((size, other), (other, size)):
        if c % a == 0 and d % b == 0 and c // a == d // b:
            return True
    return False


def _crops(size: tuple[int, int]) -> Iterator[Region]:
    """Yield the centre crops of a picture of that size to multiples of 8, 16, 32 and 64 px, smallest loss first."""
    for multiple in MULTIPLES:
        inner = [side // multiple * multiple for side in size]
        if inner != list(size) and 0 not in inner:
            yield Region((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2, inner[0], inner[1])


def _scaled_crops(size: tuple[int, int], other: tuple[int, int]) -> Iterator[Region]:
    """Yield the regions that remain if the picture is scaled to any size, with rounded sides, and then cropped around the centre
    to the next smaller multiples of 8.
    """
    long = 0 if size[0] > size[1] else 1
    if any(side % MULTIPLES[0] for side in other):
        return
    for side in range(other[long], other[long] + MULTIPLES[0]):
        short = side / size[long] * size[1 - long]
        for rounded in sorted({math.floor(short), math.ceil(short)}):
            scaled = (side, rounded) if long == 0 else (rounded, side)
            cut = [of - part for of, part in zip(scaled, other, strict=True)]
            if all(0 <= one < MULTIPLES[0] for one in cut):
                yield Region(cut[0] // 2, cut[1] // 2, *other).within(whole(scaled), size)


def similar(size: tuple[int, int], other: tuple[int, int], part: float = _SLIGHT) -> bool:
    """Return whether the sides of two sizes differ by at most ``part`` of the first size and by less than 64 px."""
    return all(abs(a - b) <= min(part * a, max(MULTIPLES) - 1) for a, b in zip(size, other, strict=True))


def _near(size: tuple[int, int], other: tuple[int, int], part: float) -> Iterator[Region]:
    """Yield the regions of the same scale that lack or add at most ``part`` of a side and less than 64 px: first evenly on both
    sides, then at the bottom and right alone.
    """
    if similar(size, other, part):
        top, left = ((a - b) // 2 if a >= b else -((b - a) // 2) for a, b in zip(size, other, strict=True))
        yield Region(top, left, other[0], other[1])
        yield whole(other)


def _covering(size: tuple[int, int], other: tuple[int, int]) -> Region:
    """Return the largest centred region with the proportions of ``other``, which ComfyUI's scaling with crop "center" keeps."""
    factor = min(size[0] / other[0], size[1] / other[1])
    top, left = (round((side - part * factor) / 2) for side, part in zip(size, other, strict=True))
    return Region(top, left, size[0] - 2 * top, size[1] - 2 * left)


def possible_regions(size: tuple[int, int], other: tuple[int, int], part: float = _SLIGHT) -> list[Region]:
    """Return the regions of a picture of ``size`` (height, width) that a version of it of ``other`` px may show, most plausible
    first.

    Whole multiples come before other factors, crops to multiples before crops of any number of px, and the whole picture
    slightly stretched comes last. At most ``part`` of a side may lack or be added, unless crops to multiples explain more. The
    list is empty where the sizes cannot belong to one picture.
    """
    if size == other:
        return [whole(size)]
    crops = list(_crops(size))
    larger = [whole(other).within(crop, size) for crop in _crops(other) if proportional(size, (crop.height, crop.width))]
    found = [whole(size)] if _integral(size, other) else []
    found += [crop for crop in crops if _integral((crop.height, crop.width), other)]
    found += [whole(size)] if proportional(size, other) else []
    found += [crop for crop in crops if proportional((crop.height, crop.width), other)]
    found += larger
    found += [] if _integral(size, other) else _scaled_crops(size, other)
    found += _near(size, other, part)
    covering = _covering(size, other)
    found += [covering] if covering.excess(size) <= _SLIGHT else []
    factors = sorted((other[0] / size[0], other[1] / size[1]))
    found += [whole(size)] if factors[1] / factors[0] <= 1 + _SLIGHT else []
    return list(dict.fromkeys(found))


def sampled(field: Tensor, size: tuple[int, int], region: Region, rows: int, columns: int) -> Tensor:
    """Return a field [B, N, h, w] over a picture of ``size`` as sampled on rows × columns of one region: [B, N, rows, columns].

    Values are interpolated between the field's cells, repeat beyond the picture, and stay within their range.
    """
    y = region.top + (torch.arange(rows) + 0.5) / rows * region.height
    x = region.left + (torch.arange(columns) + 0.5) / columns * region.width
    y, x = (2 * place / side - 1 for place, side in zip((y, x), size, strict=True))
    places = torch.stack((x.expand(rows, -1), y[:, None].expand(-1, columns)), -1).expand(len(field), -1, -1, -1)
    found = F.grid_sample(field, places.to(field), mode="bilinear", padding_mode="border", align_corners=False)
    return found.clamp(field.min(), field.max())


def _detail(grey: Tensor) -> Tensor:
    """Return the detail of a few px of a grey picture [1, H, W]. It shows a shift, and a change of tone leaves it as it is."""
    return box_filter(grey, 1) - box_filter(grey, 8)


def _agreement(original: Tensor, other: Tensor, region: Region) -> float:
    """Return how well grey ``original`` [1, h, w] and ``other`` [1, H, W] agree if the latter shows this region: the correlation
    of their detail, in [0, 1].

    They are compared at the coarser of their scales and at no more than _COMPARED px.
    """
    size = size_of(original)
    sides = [min(side, of) for side, of in zip((region.height, region.width), other.shape[1:], strict=True)]
    part = min(1.0, (_COMPARED / (sides[0] * sides[1])) ** 0.5)
    rows, columns = (max(1, round(part * side)) for side in sides)
    smaller = [min(size[0], round(size[0] * rows / region.height)), min(size[1], round(size[1] * columns / region.width))]
    original = F.interpolate(original[None], smaller, mode="bilinear", antialias=True)
    a = sampled(original, size, region, rows, columns)[0]
    b = F.interpolate(other[None], (rows, columns), mode="bilinear", antialias=True)[0]
    y = region.top + (torch.arange(rows) + 0.5) / rows * region.height
    x = region.left + (torch.arange(columns) + 0.5) / columns * region.width
    inside = ((y > 0) & (y < size[0]))[:, None] & ((x > 0) & (x < size[1]))
    a, b = _detail(a) * inside, _detail(b) * inside
    energy = float(a.square().sum()) * float(b.square().sum())
    return abs(float((a * b).sum())) / energy**0.5 if energy > 0 else 0.0


def region_shown(original: Tensor, other: Tensor) -> Region | None:
    """Return the region of ``original`` [3 or 4, h, w] that its version ``other`` [3 or 4, H, W] shows; None if there is none.

    Of the possible regions the most plausible is taken, unless the contents agree clearly better in another. A version that
    lacks or adds more than an eighth of a side must also agree with the original, or it counts as another picture.
    """
    size = size_of(original)
    regions = possible_regions(size, size_of(other), part=1)
    if regions == [whole(size)]:
        return regions[0]
    before, after = (filled(one[None])[0, :3].float().mean(0, keepdim=True) for one in (original, other))
    agreements = [_agreement(before, after, region) for region in regions]
    unexplained = [(1 - agreement**2) * (1 if i == 0 else 1 / _ADVANTAGE) for i, agreement in enumerate(agreements)]
    for i in sorted(range(len(regions)), key=lambda i: unexplained[i]):
        if regions[i].excess(size) <= _SLIGHT or agreements[i] >= _AGREEMENT:
            return regions[i]
    return None


@float32_default()
def mask_on_picture(mask: Tensor, height: int, width: int) -> Tensor:
    """Return a mask [B, h, w] of a crop or of a padded copy as a mask [B, height, width] of a picture of that size.

    Outside a crop the mask is 0. A mask of any other size comes back as it is: it is meant for the whole picture, stretched.
    Contents cannot tell, so a crop that lacks more than an eighth of a side is not considered.
    """
    size = (height, width)
    regions = possible_regions(size, size_of(mask))
    if not regions or regions[0] == whole(size) or regions[0].excess(size) > _SLIGHT:
        return mask
    top, left, rows, columns = (round(side) for side in vars(regions[0]).values())
    if (rows, columns) != size_of(mask):
        mask = F.interpolate(mask[:, None], (rows, columns), mode="bilinear", antialias=True)[:, 0]
    edges = (left, width - left - columns, top, height - top - rows)
    return F.pad(mask, edges)
