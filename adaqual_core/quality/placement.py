"""This module uses the quality map of one version of a picture with another version: a crop, a padded or a scaled copy."""

from dataclasses import replace

from torch import Tensor

from ..alignment import Region, possible_regions, sampled, whole
from ..default_dtype import float32_default
from .map import QualityMap, resampled


def map_of_region(quality: QualityMap, region: Region, height: int, width: int) -> QualityMap:
    """Return the map of a picture of that size which shows ``region`` of the map's picture. Cells keep about their size in px."""
    size = (quality.height, quality.width)

    def cells(field: Tensor) -> Tensor:
        rows, columns = field.shape[-2:]
        grid = max(1, round(rows * region.height / size[0])), max(1, round(columns * region.width / size[1]))
        return field if region == whole(size) else sampled(field, size, region, *grid)

    def per_pixel(field: Tensor) -> Tensor:
        return resampled(field, height, width) if region == whole(size) else sampled(field, size, region, height, width)

    return replace(
        quality,
        scores=cells(quality.scores),
        height=height,
        width=width,
        kinds=None if quality.kinds is None else cells(quality.kinds),
        pixels=None if quality.pixels is None else per_pixel(quality.pixels),
        painted={kind: per_pixel(damage) for kind, damage in quality.painted.items()},
        drawn=None if quality.drawn is None else per_pixel(quality.drawn),
    )


@float32_default()
def fitted(quality: QualityMap, height: int, width: int, picture: str) -> QualityMap:
    """Return the map for a version of the map's picture of that size: the picture itself, a centre crop, a padded or a scaled
    copy.

    Raises ValueError, with the words for the ``picture``, where the sizes cannot belong to one picture.
    """
    size = (quality.height, quality.width)
    regions = possible_regions(size, (height, width))
    if not regions:
        raise ValueError(
            f"quality: the map of a {quality.width}×{quality.height} picture, but {picture} is {width}×{height}; "
            f"connect the map of {picture}"
        )
    return quality if size == (height, width) else map_of_region(quality, regions[0], height, width)
