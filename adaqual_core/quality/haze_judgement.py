"""This module corrects what the embedded assessor says of low light and haze, from its estimate of the whole picture (our
definition; docs/ablation.md has the measurements).

Both change the tone of the whole picture, and in opposite directions. Haze makes the assessor suspect faint low light too, and a
restorer that is told both does little. And haze of a look that it was not trained on is found, but called thinner than it is, and
its picture better. Rain and snow lighten and darken a picture too, and are taken for both in part.
"""

import torch
from torch import Tensor

from ..filters import smoothstep
from ..grid import severity_where_present
from ..kinds import KINDS

_LOW, _RAIN, _SNOW, _HAZE = (KINDS.index(kind) for kind in ("low", "rain", "snow", "haze"))
_OTHERS = [k for k in range(len(KINDS)) if k not in (_LOW, _HAZE)]


def _beside_rain_and_snow(kinds: Tensor) -> Tensor:
    """Return severities by kind [B, 8, h, w] with haze struck out and low light halved beside rain and snow."""
    present = severity_where_present(kinds)
    wet = present[:, _RAIN : _RAIN + 1] + present[:, _SNOW : _SNOW + 1]
    kinds = kinds.clone()
    for kind, most in ((_HAZE, 1.0), (_LOW, 0.5)):
        rainy = smoothstep(0.4, 0.9, wet / present[:, kind : kind + 1].clamp_min(1e-6))
        kinds[:, kind : kind + 1] *= 1 - most * rainy
    return kinds


def correct_haze(severity: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
    """Return the overall severity [B, 1, h, w] and the severities by kind [B, 8, h, w] of whole pictures, both in [0, 1], with
    low light and haze corrected.

    Where rain and snow together are at least 0.9 times as severe as haze, haze is struck out, and up to 0.4 times it is kept
    (:func:`severity_where_present`); low light is halved by the same rule. Low light is struck out where the haze that stays is
    at least 1.5 times as severe, and kept where it is as severe as haze or more. Where low light is struck out and the mean
    severity of every other kind is at most 0.4 of that of haze as it was given, haze leads, and its optical depth −ln(1 − s) is
    tripled; from 0.75 on it stays as it is. Where haze leads, the overall severity of a cell is at least 0.8 of its haze. Between
    these numbers all changes smoothly, so that the frames of a clip do not flicker.
    """
    means = kinds.mean((2, 3), keepdim=True)
    kinds = _beside_rain_and_snow(kinds)
    present = severity_where_present(kinds[:, (_LOW, _HAZE)])
    low, haze = present[:, :1], present[:, 1:]
    hazier = smoothstep(0.5, 0.6, haze / (haze + low).clamp_min(1e-6))
    corrected = kinds.clone()
    corrected[:, _LOW : _LOW + 1] *= 1 - hazier
    others = means[:, _OTHERS].amax(1, keepdim=True)
    leading = hazier * (1 - smoothstep(0.4, 0.75, others / means[:, _HAZE : _HAZE + 1].clamp_min(1e-6)))
    corrected[:, _HAZE : _HAZE + 1] = 1 - (1 - kinds[:, _HAZE : _HAZE + 1]) ** (1 + 2 * leading)
    return torch.maximum(severity, 0.8 * leading * corrected[:, _HAZE : _HAZE + 1]), corrected
