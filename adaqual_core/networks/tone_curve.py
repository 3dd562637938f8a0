"""This module is the global prompt's tone curve: how bright every colour of the whole picture should be (our definition).

Darkness, even haze and a colour cast change a picture's levels everywhere alike. What undoes them follows from the global
statistics alone, so it is found once per picture, and the convolutions are left with what differs from place to place.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..image_statistics import STATISTICS

KNOTS = 9
"""Knots of a curve, evenly spaced over [0, 1]."""


def tone_change(picture: Tensor, curve: Tensor) -> Tensor:
    """Return what ``curve`` [B, 3, KNOTS] adds to a picture [B, 3, H, W]: linear between the knots, constant outside [0, 1]."""
    position = picture.clamp(0, 1) * (KNOTS - 1)
    left = position.detach().floor().clamp_max(KNOTS - 2)
    index = left.long().flatten(2)
    low, high = curve.gather(2, index), curve.gather(2, index + 1)
    return torch.lerp(low, high, (position - left).flatten(2).to(low.dtype)).view_as(picture)


class ToneCurve(nn.Module):
    """This network makes a curve [B, 3, KNOTS] of global statistics [B, STATISTICS]: what to add to each level of each colour."""

    def __init__(self, width: int, operations=nn):
        super().__init__()
        self.layer1 = operations.Linear(STATISTICS, width)
        self.layer2 = operations.Linear(width, width)
        self.layer3 = operations.Linear(width, 3 * KNOTS)

    def forward(self, statistics: Tensor) -> Tensor:
        x = F.silu(self.layer1(statistics * 4 - 2))
        return self.layer3(F.silu(self.layer2(x))).view(-1, 3, KNOTS)
