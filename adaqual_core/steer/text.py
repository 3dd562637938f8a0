"""This module writes the adaptive prompt in words: bands of severity with soft borders, and a text for each (our definition).

Severity in [0, 1] is cut into equal bands. The text of a band is the beginning of one list of directives, so a worse band says
everything that a better one says, and more: complexity grows with severity, as in the paper's section 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from ..default_dtype import float32_default
from ..grid import severity_of
from ..quality.map import QualityMap

LEAST_BANDS, MOST_BANDS = 2, 6

PRESERVE = "unchanged, original detail"
"""Default text of the best band."""

DIRECTIVES = (
    "clean photograph, faithful to the original detail",
    "faint noise and compression artefacts removed",
    "sharp edges and crisp contours",
    "natural contrast, clear colours without haze or veil",
    "natural fine texture of skin, hair, fabric, leaves and stone",
    "ringing, blocking and banding removed, smooth even gradients",
    "rain streaks, snowflakes and drops removed, the background behind them completed plausibly",
    "dark areas lit evenly, shadow detail recovered without noise or colour cast",
    "motion blur and defocus removed, structures redrawn straight and continuous",
    "destroyed parts rebuilt consistently with their surroundings in perspective, light and texture",
)
"""Default directives, from the gentlest to the strongest."""


@dataclass(frozen=True)
class Band:
    """A band covers the severities from ``low`` to ``high``, both in [0, 1], and has a text and a strength of at least 0.

    Where borders are soft, neighbouring bands cross over around ``low`` and ``high``.
    """

    low: float
    high: float
    text: str
    strength: float


@float32_default()
def band_weights(severity: Tensor, bands: int, softness: float) -> Tensor:
    """Return how much each place belongs to each band: severity [B, 1, H, W] in [0, 1] gives [B, bands, H, W].

    The best band comes first, and the weights sum to 1 at each place. Neighbouring bands cross over linearly. ``softness`` in
    [0, 1] is the width of the crossing as a share of a band's width; 0 makes hard borders. Raises ValueError for values outside
    these ranges.
    """
    if not LEAST_BANDS <= bands <= MOST_BANDS:
        raise ValueError(f"bands: {bands}; give {LEAST_BANDS} to {MOST_BANDS}")
    if not 0 <= softness <= 1:
        raise ValueError(f"softness: {softness}; give 0 (hard borders) to 1 (softest)")
    reached = [torch.ones_like(severity)]
    for border in range(1, bands):
        above = severity * bands - border
        reached.append((above / softness + 0.5).clamp(0, 1) if softness else (above > 0).to(severity.dtype))
    reached.append(torch.zeros_like(severity))
    return torch.cat([here - beyond for here, beyond in zip(reached[:-1], reached[1:], strict=True)], 1)


@float32_default()
def band_masks(quality: QualityMap, bands: int, softness: float) -> Tensor:
    """Return the weights of :func:`band_weights` at the picture's size, [B, bands, height, width]."""
    return band_weights(severity_of(quality.resized(quality.height, quality.width)), bands, softness)


def compose_bands(
    bands: int,
    *,
    preserve: str = PRESERVE,
    directives: Sequence[str] = DIRECTIVES,
    caption: str = "",
    strengths: tuple[float, float] = (1.0, 1.0),
) -> list[Band]:
    """Return the bands from best to worst.

    The best band says ``preserve``, and band k says the first k/(bands − 1) of the directives. ``caption`` is put before every
    text. ``strengths`` are those of the best and of the worst band; the others are spaced evenly between them. Raises
    ValueError for too few directives, for numbers of bands other than 2 to 6, and for strengths that are below 0, not finite, or
    all 0.
    """
    if not LEAST_BANDS <= bands <= MOST_BANDS:
        raise ValueError(f"bands: {bands}; give {LEAST_BANDS} to {MOST_BANDS}")
    lines = [line.strip() for line in directives if line.strip()]
    if len(lines) < bands - 1:
        raise ValueError(f"directives: {len(lines)} lines for {bands} bands; give at least {bands - 1} lines, or fewer bands")
    if not all(0 <= one < inf for one in strengths) or max(strengths) == 0:
        raise ValueError(f"strengths: {strengths}; give finite numbers of at least 0, one of them above 0")
    result = []
    for k in range(bands):
        part = k / (bands - 1)
        text = ", ".join(lines[: round(part * len(lines))]) if k else preserve.strip()
        text = ", ".join(piece for piece in (caption.strip(), text) if piece)
        result.append(Band(k / bands, (k + 1) / bands, text, strengths[0] + part * (strengths[1] - strengths[0])))
    return result


def describe(bands: Sequence[Band], whole: str = "") -> str:
    """Return the composed prompt as text for people: a line for the whole picture, and one per band with its qualities."""
    lines = [f"whole picture: {whole}"] if whole else []
    for band in bands:
        lines.append(f"quality {5 - 4 * band.low:.2f} to {5 - 4 * band.high:.2f} (strength {band.strength:.2f}): {band.text}")
    return "\n".join(lines)
