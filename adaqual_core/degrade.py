"""Compositions of degradations in the published order, even or through a region mask, with their exact severity."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from . import camera, weather

GENERATORS = {
    "low": weather.low_light,
    "rain": weather.rain,
    "snow": weather.snow,
    "haze": weather.haze,
    "raindrops": weather.raindrops,
    "blur": camera.blur,
    "noise": camera.noise,
    "jpeg": camera.jpeg,
}
"""Kinds in the order they are applied: light, precipitation, haze (CDD-11), then the lens, the sensor and the file."""

KINDS = tuple(GENERATORS)


@dataclass(frozen=True)
class Degraded:
    """A degraded picture [3, H, W] in [0, 1] and its severity [1, H, W] in [0, 1] (0 = untouched, exactly)."""

    picture: Tensor
    severity: Tensor


def degrade(
    picture: Tensor,
    kinds: Sequence[str],
    severity: float = 0.6,
    *,
    seed: int = 0,
    mask: Tensor | None = None,
) -> Degraded:
    """Damage ``picture`` [3, H, W] in [0, 1] with every kind of ``kinds`` at ``severity`` in [0, 1].

    ``mask`` [1, H, W] in [0, 1] limits the damage to a region, with soft borders where it is between 0 and 1. The
    severity of a pixel is our definition: 1 − Π(1 − severity·mask) over the kinds. The same seed gives the same picture.
    """
    if picture.ndim != 3 or picture.shape[0] != 3:
        raise ValueError(f"picture: shape {tuple(picture.shape)}; give one picture as [3, H, W] in [0, 1]")
    unknown = [kind for kind in kinds if kind not in GENERATORS]
    if unknown or not kinds:
        raise ValueError(f"kinds: {', '.join(unknown) or 'none given'}; choose from {', '.join(KINDS)}")
    if not 0 <= severity <= 1:
        raise ValueError(f"severity: {severity}; give a number from 0 (untouched) to 1 (worst)")
    height, width = picture.shape[-2:]
    if mask is not None and mask.shape != (1, height, width):
        raise ValueError(f"mask: shape {tuple(mask.shape)}; give [1, {height}, {width}], the picture's size")
    if severity == 0:
        return Degraded(picture.clone(), torch.zeros(1, height, width))
    region = torch.ones(1, height, width) if mask is None else mask.float().cpu()
    return compose(picture.float().cpu(), {kind: severity for kind in kinds}, torch.Generator().manual_seed(seed), region)


def compose(picture: Tensor, severities: dict[str, float], generator: torch.Generator, mask: Tensor) -> Degraded:
    """The composition behind :func:`degrade`, with a severity in (0, 1] per kind and a mask [1, H, W] in [0, 1]."""
    damaged, untouched = picture, torch.ones_like(mask)
    for kind in KINDS:
        if kind in severities:
            damaged = GENERATORS[kind](damaged, severities[kind], generator)
            untouched = untouched * (1 - severities[kind] * mask)
    return Degraded(torch.where(mask > 0, picture + mask * (damaged - picture), picture), 1 - untouched)
