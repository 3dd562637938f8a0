"""This module gives maps the kinds of damage that their own assessor does not name (DeQA-Score, CLIP-IQA, a mask): the bundled
assessor supplies them (method.md section 3a).
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..default_dtype import float32_default
from .bundled import SHIPPED_ASSESSOR, estimate_quality, load_assessor
from .estimator import QualityEstimator
from .map import QualityMap, resampled


def open_namer(assessor: Any, device: torch.device | str = "cpu") -> QualityEstimator | None:
    """Return the bundled assessor on ``device`` if ``assessor`` names no kinds of damage, otherwise None."""
    return None if isinstance(assessor, QualityEstimator) else load_assessor(SHIPPED_ASSESSOR).to(device)


def lacks_kinds(quality: QualityMap) -> bool:
    """Return whether the assessor of a map names no kinds of damage. What an artist has said of the kinds does not count."""
    return quality.kinds is None or quality.kinds_said


@float32_default()
def with_kinds(quality: QualityMap, picture: Tensor, namer: QualityEstimator | None) -> QualityMap:
    """Return the map of pictures [B, 3 or 4, H, W] in [0, 1], with the kinds of damage that ``namer`` sees in them (our
    definition).

    The map is returned unchanged unless it :func:`lacks_kinds` and there is a ``namer``. Its scores, and with them what is
    restored and what is kept, stay as they are. The severity of each kind becomes what the namer sees, or what was said through
    :func:`~adaqual_core.quality.set_damage.set_damage` where that is larger. Where the map says damage and the namer sees no
    kind, all kinds stay 0: the network is then told the overall severity alone. A map of one picture serves all B.
    """
    if namer is None or not lacks_kinds(quality):
        return quality
    batch, seen = len(picture), estimate_quality(namer, picture).kinds
    if quality.kinds is not None and seen is not None:
        seen = torch.maximum(seen, resampled(quality.kinds, *seen.shape[-2:]))

    def of_all(part: Tensor) -> Tensor:
        return part.expand(batch, -1, -1, -1)

    return replace(
        quality,
        scores=of_all(quality.scores),
        pixels=None if quality.pixels is None else of_all(quality.pixels),
        painted={kind: of_all(damage) for kind, damage in quality.painted.items()},
        drawn=None if quality.drawn is None else of_all(quality.drawn),
        kinds=seen,
        kinds_said=False,
    )
