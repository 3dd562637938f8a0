"""This module adds to a quality map what an artist says of the damage, beside what the assessor sees (method.md section 3a)."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..alignment import mask_on_picture
from ..checks import check_number
from ..default_dtype import float32_default
from ..grid import HIGHEST, LOWEST
from ..kinds import KINDS
from .map import QualityMap, cell_grid, checked_mask, raised, resampled


@float32_default()
def set_damage(quality: QualityMap, kind: str, severity: float, mask: Tensor | None = None) -> QualityMap:
    """Return a map whose pictures have damage that its assessor may have missed (our definition).

    ``kind`` is one of KINDS and ``severity`` a number in [0, 1]. The kind's severity becomes the larger of what the assessor saw
    and what is said here, and the overall severity becomes at least as large. ``mask`` [B or 1, h, w] in [0, 1], of any size,
    limits this to a region, to the pixel, and multiplies the severity where it lies between 0 and 1. A map that names no kinds
    gets them: 0 for all kinds but this one, until :func:`~adaqual_core.quality.naming.with_kinds` supplies the others. Raises
    ValueError for other kinds and severities, and for masks of other shapes.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: '{kind}'; choose from {', '.join(KINDS)}")
    check_number("severity", severity)
    if not 0 <= severity <= 1:
        raise ValueError(f"severity: {severity}; give a number from 0 (nothing is said) to 1 (worst)")
    kinds, scores, pixels, painted = quality.kinds, quality.scores, quality.pixels, dict(quality.painted)
    said = quality.kinds_said or kinds is None
    if kinds is None:
        kinds = torch.zeros(quality.batch, len(KINDS), *cell_grid(quality))
    if mask is None:
        kinds = raised(kinds, {kind: torch.full_like(kinds[:, :1], severity)})
        most = HIGHEST - (HIGHEST - LOWEST) * severity
        scores, pixels = scores.clamp_max(most), None if pixels is None else pixels.clamp_max(most)
    else:
        region = resampled(checked_mask("mask", mask, quality.batch), quality.height, quality.width)
        damage = (severity * region).expand(quality.batch, -1, -1, -1)
        painted[kind] = torch.maximum(painted[kind], damage) if kind in painted else damage
    return replace(quality, scores=scores, kinds=kinds, pixels=pixels, painted=painted, kinds_said=said)


def assume(quality: QualityMap, severities: Mapping[str, float], mask: Tensor | None = None) -> QualityMap:
    """Return the map after :func:`set_damage` for each kind in ``severities``, everywhere or in the region of one ``mask`` [1, h,
    w] in [0, 1].

    A mask of another size than the picture's is stretched to it, or laid on the part that a crop shows
    (:func:`~adaqual_core.alignment.mask_on_picture`).
    """
    region = None if mask is None else mask_on_picture(mask, quality.height, quality.width)
    for kind, severity in severities.items():
        quality = set_damage(quality, kind, severity, region)
    return quality
