"""This module labels photos that are dark in themselves, whose severity of low light no generator knows (our definition).

Without a label for them the assessor learns the traces of the generators, and calls real dark photos clean (measured: its low
light on eight real dark photos fell from 0.2-0.6 at update 1,600 to 0.02-0.34 at update 12,800). They are therefore labelled by
their luma alone, with the severity that the generators' darkness has on average at that luma.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from adaqual_core.filters import luma
from adaqual_core.grid import CELL
from adaqual_core.kinds import KINDS

LOW, HAZE = KINDS.index("low"), KINDS.index("haze")

DARK_CROP = 0.25
"""A crop whose mean luma is below this may be dark in itself, although its photo is lighter on the whole."""


def usual_darkness(picture: Tensor) -> Tensor:
    """Return about the mean severity of low light that generated scenes have where their luma is that of ``picture``.

    Pictures [B, 3, H, W] in [0, 1] give [B, 1, H/16, W/16] in [0, 0.76]. The luma L is averaged over 5×5 cells. The curve
    0.86·exp(−L / 0.3) was fitted to 38,144 cells of 149 scenes with low light alone: 0.82 at L = 0.025, 0.49 at 0.175, 0.28 at
    0.325, 0.10 at 0.625. 0.1 is subtracted from it, because the bright parts of a dark photo have lost no light.
    """
    light = F.avg_pool2d(F.avg_pool2d(luma(picture), CELL), 5, 1, 2, count_include_pad=False)
    return (0.86 * torch.exp(-light / 0.3) - 0.1).clamp_min(0)


def usual_loss_of_quality(darkness: Tensor) -> Tensor:
    """Return the overall severity that low light of this severity alone has on average, both in [0, 1] and of the same shape.

    It was fitted to the same scenes: 0.35 at 0.15, 0.49 at 0.45, 0.65 at 0.85.
    """
    return torch.minimum(2.3 * darkness, 0.31 + 0.4 * darkness)


def dark_crops(picture: Tensor, low: Tensor) -> Tensor:
    """Return which scenes may be dark in themselves although no low light was added, as booleans [B].

    ``picture`` [B, 3, H, W] in [0, 1]; ``low`` [B, h, w] in [0, 1]: severity of the low light that was added.
    """
    return (low.amax((1, 2)) == 0) & (luma(picture).mean((1, 2, 3)) < DARK_CROP)


def label_dark_photos(picture: Tensor, severity: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the labels of scenes in which natural darkness has its place.

    ``picture`` [B, 3, H, W] in [0, 1]; ``severity`` [B, 9, h, w] in [0, 1], the overall one and those by kind; ``known`` [B, 8],
    0 for kinds that the photo itself may show. The function returns severity, known, and ``exact`` [B], 0 where the overall
    severity is a lower bound only, because the photo may be dark or hazy in itself to an unknown degree. (The photos' own noise,
    blur and JPEG blocks are too weak to matter.) Photos that are no clean examples of low light are labelled by their luma. In
    other scenes without low light that are dark, the severity of low light is unknown.
    """
    overall, kinds, known = severity[:, :1].clone(), severity[:, 1:].clone(), known.clone()
    dark_photo = known[:, LOW] == 0
    usual = usual_darkness(picture)[dark_photo]
    kinds[dark_photo, LOW] = usual[:, 0]
    overall[dark_photo] = torch.maximum(overall[dark_photo], usual_loss_of_quality(usual))
    known[:, LOW] = (dark_photo | ~dark_crops(picture, severity[:, 1 + LOW])).to(known.dtype)
    exact = known[:, LOW] * known[:, HAZE]
    return torch.cat((overall, kinds), 1), known, exact
