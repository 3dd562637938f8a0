"""Quality maps of one version of a picture used with another: a crop, a padded or a scaled copy."""

from dataclasses import replace

from torch import Tensor

from ..alignment import Region, possible_regions, sampled, whole
from .map import QualityMap


def map_of_region(quality: QualityMap, region: Region, height: int, width: int) -> QualityMap:
    """The map of a picture of that size which shows ``region`` of the map's picture; cells keep about their size in px."""
    size = (quality.height, quality.width)
    if region == whole(size):
        return replace(quality, height=height, width=width)

    def part(field: Tensor) -> Tensor:
        rows, columns = field.shape[-2:]
        grid = max(1, round(rows * region.height / size[0])), max(1, round(columns * region.width / size[1]))
        return sampled(field, size, region, *grid)

    kinds = None if quality.kinds is None else part(quality.kinds)
    return replace(quality, scores=part(quality.scores), kinds=kinds, height=height, width=width)


def fitted(quality: QualityMap, height: int, width: int, picture: str) -> QualityMap:
    """The map of a version of the map's picture of that size: itself, of a centre crop, of a padded or of a scaled copy.

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
