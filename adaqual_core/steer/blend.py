"""This module joins several versions of one picture without seams, by multi-band blending (Burt and Adelson 1983).

Each frequency band is mixed over a width that suits it: colours slowly, detail sharply. Which version is taken where follows a
quality map (:func:`blend`) or one map per version (:func:`best_per_region`); both rules are our definition.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..alignment import Region, region_shown, similar, size_of, whole
from ..default_dtype import float32_default
from ..filters import gaussian_blur
from ..quality.map import QualityMap
from ..quality.placement import map_of_region
from ..visible import filled, invisible


def enlarged(field: Tensor, height: int, width: int) -> Tensor:
    """Return a field [B, C, h, w] as [B, C, height, width].

    It is interpolated bicubically where it grows and averaged over areas where it shrinks, and its values stay within their
    range.
    """
    if tuple(field.shape[-2:]) == (height, width):
        return field
    if field.shape[-2] >= height and field.shape[-1] >= width:
        return F.interpolate(field, (height, width), mode="area")
    return F.interpolate(field, (height, width), mode="bicubic", align_corners=False).clamp(field.min(), field.max())


def _reduced(field: Tensor) -> Tensor:
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=field.dtype, device=field.device) / 16
    kernel = (kernel[:, None] * kernel).expand(field.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(field, (2, 2, 2, 2), mode="replicate"), kernel, stride=2, groups=field.shape[1])


@float32_default()
def multiband(pictures: Tensor, weights: Tensor, levels: int) -> Tensor:
    """Blend versions [N, C, H, W] by weights [N, 1, H, W], which sum to 1 at each pixel, into one picture [C, H, W].

    ``levels`` (0 or more) is the number of bands beside the coarsest one; with 0 the result is the plain weighted mean. Detail
    is mixed where the weights cross, and each coarser band over twice that width, up to about 2^(levels + 1) px. The result
    stays in the versions' range, and equal versions give themselves. Raises ValueError for negative ``levels``.
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


def _on_canvas(region: Region, frame: Region, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return top, left, height and width in px of a region on a canvas of ``size`` (height, width) that shows ``frame``."""
    rows, columns = size[0] / frame.height, size[1] / frame.width
    height, width = max(1, round(region.height * rows)), max(1, round(region.width * columns))
    return round((region.top - frame.top) * rows), round((region.left - frame.left) * columns), height, width


def _placed(picture: Tensor, region: Region, frame: Region, size: tuple[int, int]) -> Tensor:
    """Put a picture [C, H, W] that shows ``region`` on a canvas [C, *size] that shows ``frame``.

    Beyond the region the picture's border is repeated.
    """
    top, left, height, width = _on_canvas(region, frame, size)
    picture = enlarged(picture[None], height, width)[0]
    if (top, left, height, width) == (0, 0, *size):
        return picture
    rows = (torch.arange(size[0]) - top).clamp(0, height - 1)
    return picture[:, rows][:, :, (torch.arange(size[1]) - left).clamp(0, width - 1)]


def _inside(region: Region, frame: Region, size: tuple[int, int]) -> Tensor:
    """Return a mask [1, 1, *size] that is 1 where ``region`` lies on a canvas that shows ``frame``, and 0 elsewhere."""
    top, left, height, width = _on_canvas(region, frame, size)
    result = torch.zeros(1, 1, *size)
    result[..., max(0, top) : top + height, max(0, left) : left + width] = 1
    return result


@float32_default()
def aligned(original: Tensor, version: Tensor, names: tuple[str, str]) -> Region:
    """Return the region of ``original`` [C, h, w] that ``version`` [C', H, W] shows.

    Raises ValueError, with the two ``names``, for pictures that cannot be aligned.
    """
    region = region_shown(original, version)
    if region is None:
        (height, width), (rows, columns) = version.shape[1:], original.shape[1:]
        raise ValueError(
            f"{names[1]}: {width}×{height} px beside {columns}×{rows} px of {names[0]} is not the same picture at another scale, "
            "or slightly cropped; connect versions of one picture"
        )
    return region


def _mixed(versions: Callable[[Callable[[Tensor], Tensor]], Tensor], weights: Tensor, inside: Tensor, levels: int) -> Tensor:
    """Blend ``versions(prepare)`` [N, C, H, W], which applies ``prepare`` to each picture, by weights [N, 1, H, W].

    ``inside`` [N, 1, H, W] is 1 where a version shows anything. Bands are mixed only where all versions show something;
    elsewhere the result is the weighted mean of those that do, so that the border takes nothing from a version that was cut off
    there. Colours that an alpha of 0 hides are kept apart from the visible ones: they become the weighted mean of the hidden
    colours at the same place.
    """

    def plain(pictures: Tensor) -> Tensor:
        return (pictures * weights).sum(0)

    pictures, common = versions(lambda picture: filled(picture[None])[0]), inside.amin(0)[0]
    rows, columns = (slice(int(at[0]), int(at[-1]) + 1) for at in (common.amax(1).nonzero(), common.amax(0).nonzero()))
    mixed = multiband(pictures[..., rows, columns], weights[..., rows, columns], levels)
    if not bool(common.all()):
        bordered = plain(pictures)
        bordered[:, rows, columns] = mixed
        mixed = bordered
    hidden = invisible(mixed[None])
    if hidden is not None:
        mixed[:3] = torch.where(hidden[0], plain(versions(lambda picture: picture))[:3], mixed[:3])
    return mixed


@float32_default()
def blend(original: Tensor, processed: Tensor, restored_part: Tensor, levels: int, region: Region | None = None) -> Tensor:
    """Put the original [C, h, w] back into the processed [C', H, W] where ``restored_part`` [1, 1, h', w'] in [0, 1] is 0.

    The result shows all that the original shows, at the processed picture's scale, or in the original's size where the two are
    about equal. Where the processed picture is a crop, the border comes from the original; what it shows beyond the original is
    cut off. ``region`` is the part of the original that the processed picture shows; by default
    :func:`adaqual_core.alignment.region_shown` finds it. ``levels``: see :func:`multiband`. The result has the processed
    picture's alpha, or the original's where only that has one. Raises ValueError for pictures that cannot be aligned.
    """
    region = region or aligned(original, processed, ("original", "processed"))
    (height, width), (rows, columns) = original.shape[1:], processed.shape[1:]
    size = max(1, round(height * rows / region.height)), max(1, round(width * columns / region.width))
    size = (height, width) if similar((height, width), size) else size
    frame = whole((height, width))

    def versions(prepare: Callable[[Tensor], Tensor]) -> Tensor:
        before, after = (_placed(prepare(one), part, frame, size) for one, part in ((original, frame), (processed, region)))
        if len(before) != len(after):
            alpha = after[3:] if len(after) == 4 else before[3:]
            before, after = (torch.cat((one[:3], alpha)) for one in (before, after))
        return torch.stack((before, after))

    inside = _inside(region, frame, size)
    weight = F.interpolate(restored_part, size, mode="bilinear", align_corners=False).clamp(0, 1) * inside
    return _mixed(versions, torch.cat((1 - weight, weight)), torch.cat((torch.ones_like(inside), inside)), levels)


def choose(maps: Sequence[QualityMap]) -> Tensor:
    """Return which of N versions is best in each cell, as indices [h, w]; ``maps`` holds one quality map per version.

    Scores are smoothed over one cell, so that noise in the judgement does not scatter the choice. Half of their mean over four
    cells is added, so that where versions are alike the one with the better surroundings wins and regions hold together. Of
    equal versions the first is taken.
    """
    rows, columns = maps[0].cells().shape[-2:]
    scores = [one.resized(rows, columns)[0] for one in maps]
    return torch.cat([gaussian_blur(one, 1.0) + gaussian_blur(one, 4.0) / 2 for one in scores]).argmax(0)


def _opaque(picture: Tensor, channels: int) -> Tensor:
    """Return a picture [3 or 4, H, W] with that many channels; an alpha that is added is 1."""
    return picture if len(picture) == channels else torch.cat((picture, torch.ones_like(picture[:1])))


@float32_default()
def align_all(versions: Sequence[Tensor]) -> list[Region]:
    """Return the region of the first of several versions [C, H_n, W_n] that each of them shows.

    Raises ValueError for a version that cannot be aligned with the first.
    """
    regions = [aligned(versions[0], one, ("version 1", f"version {i}")) for i, one in enumerate(versions[1:], 2)]
    return [whole(size_of(versions[0])), *regions]


@float32_default()
def best_per_region(
    versions: Sequence[Tensor], maps: Sequence[QualityMap], levels: int, regions: Sequence[Region] | None = None
) -> tuple[Tensor, Tensor]:
    """Join the best regions of N versions [C, H_n, W_n] of one picture.

    Returns the picture at the largest of the versions' scales, and the choice [H, W] as indices of versions. ``maps`` holds the
    map of each version at its own size. The result shows what any version shows; where one was cropped, the border comes from
    the others. ``regions`` are those of :func:`align_all`, which is asked where they are not given. ``levels``: see
    :func:`multiband`. If any version has alpha, the result has it, and versions without it count as opaque. Raises ValueError
    for less than two versions, for another number of maps, and for pictures that cannot be aligned.
    """
    if len(versions) < 2 or len(versions) != len(maps):
        raise ValueError(f"versions: {len(versions)} with {len(maps)} maps; give at least two, and a map for each")
    sizes, regions = [size_of(one) for one in versions], regions or align_all(versions)
    top, left = min(one.top for one in regions), min(one.left for one in regions)
    bottom, right = max(one.top + one.height for one in regions), max(one.left + one.width for one in regions)
    frame = Region(top, left, bottom - top, right - left)
    size = (
        round(frame.height * max(height / one.height for (height, _), one in zip(sizes, regions, strict=True))),
        round(frame.width * max(width / one.width for (_, width), one in zip(sizes, regions, strict=True))),
    )
    channels = max(len(one) for one in versions)

    def placed(prepare: Callable[[Tensor], Tensor]) -> Tensor:
        ready = (prepare(_opaque(one, channels)) for one in versions)
        return torch.stack([_placed(one, region, frame, size) for one, region in zip(ready, regions, strict=True)])

    cells = [
        map_of_region(one, frame.within(region, own), round(frame.height), round(frame.width))
        for one, region, own in zip(maps, regions, sizes, strict=True)
    ]
    chosen = choose(cells)
    inside = torch.cat([_inside(region, frame, size) for region in regions])
    parts = F.one_hot(chosen, len(versions)).movedim(-1, 0)[:, None].float()
    weights = F.interpolate(parts, size, mode="bilinear", align_corners=False) * inside
    shown = inside.sum(0)  # 0 in a corner of the frame that no version shows: there the repeated borders count
    weights = weights + (1 - weights.sum(0)) * torch.where(shown > 0, inside / shown.clamp_min(1), 1 / len(versions))
    return _mixed(placed, weights, inside, levels), weights.argmax(0)[0]
