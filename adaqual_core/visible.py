"""This module finds the parts of a picture that judging and restoring must not see, and gives back those that restoring must not
change (our definition).

Colours under an alpha of 0 are invisible, yet files and IMAGEs with alpha hold some. Each stage replaces them by the colours
around before it computes anything, so they cannot change a map, a statistic or a network's input. After restoring they are put
back as they were, together with values beyond [0, 1] where nothing was restored, and a grey picture stays grey.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .default_dtype import float32_default
from .filters import LUMA
from .grid import CELL

INVISIBLE = 1 / 131070
"""A place is invisible where alpha is below this value, which 16 bits store as 0."""


def invisible(picture: Tensor) -> Tensor | None:
    """Return which places of pictures [B, C, H, W] nobody can see, as booleans [B, 1, H, W]; None where all can be seen.

    Only pictures of 4 channels have alpha, in the last one.
    """
    if picture.ndim != 4 or picture.shape[1] != 4:
        return None
    hidden = picture[:, 3:] < INVISIBLE
    return hidden if bool(hidden.any()) else None


@float32_default()
def filled(picture: Tensor) -> Tensor:
    """Return pictures [B, C, H, W] in which the colours of invisible places are those of their visible surroundings.

    The colour of such a place is a mean over the visible places around it, smooth in the middle of large holes. A picture of
    which nothing is visible becomes middle grey. Visible colours and alpha stay, and without invisible places the argument
    itself is returned.
    """
    hidden = invisible(picture)
    if hidden is None:
        return picture
    colours = torch.cat([_filled(one[None, :3], ~places[None]) for one, places in zip(picture, hidden, strict=True)])
    return torch.cat((colours, picture[:, 3:]), 1)


def _filled(colours: Tensor, seen: Tensor) -> Tensor:
    """Return colours [1, 3, H, W] filled where ``seen`` [1, 1, H, W] is False (pull-push, Gortler et al. 1996).

    Means over the visible places of blocks of 2×2, 4×4, 8×8, ... px form a pyramid; a hole takes the next coarser level, smoothly
    enlarged.
    """
    if bool(seen.all()):
        return colours
    if colours.shape[-2:] == (1, 1):
        return torch.full_like(colours, 0.5)
    share = F.avg_pool2d(seen.to(colours.dtype), 2, ceil_mode=True)
    means = F.avg_pool2d(torch.where(seen, colours, 0), 2, ceil_mode=True) / share.clamp_min(1e-6)
    coarse = _filled(means, share > 0)
    smooth = F.interpolate(coarse, colours.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(seen, colours, smooth)


def without_invisible(field: Tensor, picture: Tensor) -> Tensor:
    """Return a field [B, N, h, w] on the cell grid of pictures [B, C, H, W], whose mean leaves out the cells that nobody can see.

    Cells without any visible place get the mean over the cells that have one. A picture of which nothing is visible keeps its
    values.
    """
    hidden = invisible(picture)
    if hidden is None:
        return field
    seen = F.max_pool2d((~hidden).to(field), CELL, ceil_mode=True) > 0
    count = seen.sum((2, 3), keepdim=True)
    mean = torch.where(seen, field, 0).sum((2, 3), keepdim=True) / count.clamp_min(1)
    return torch.where(seen | (count == 0), field, mean)


@float32_default()
def put_back(result: Tensor, picture: Tensor) -> Tensor:
    """Put back in ``result``, in place, what restoring must not change in ``picture``; both are [B, 3 or 4, H, W].

    ``result`` was made of ``filled(picture)``, clamped to [0, 1]. Colours of invisible places return as they were. Colours beyond
    [0, 1] are changed by as much as their clamped values were, so kept places keep them exactly. If the visible picture is grey,
    the change is grey: its luma (BT.601).
    """
    for after, before in zip(result, picture, strict=True):
        _put_back(after, before.to(after))
    return result


def _put_back(result: Tensor, given: Tensor) -> None:
    hidden = invisible(given[None])
    seen = filled(given[None])[0]
    grey = torch.equal(seen[0], seen[1]) and torch.equal(seen[1], seen[2])
    beyond = float(given[:3].amin()) < 0 or float(given[:3].amax()) > 1
    if grey:
        change = sum(weight * (after - before.clamp(0, 1)) for weight, after, before in zip(LUMA, result, seen, strict=False))
        result[:3] = (seen[:1].clamp(0, 1) + change).clamp_(0, 1)
    for channel in range(3 if beyond or hidden is not None else 0):
        after, before = result[channel], given[channel]
        if beyond:
            clamped = seen[channel].clamp(0, 1)
            after.copy_(torch.where(seen[channel] == clamped, after, seen[channel] + (after - clamped)))
        if hidden is not None:
            after.copy_(torch.where(hidden[0, 0], before, after))
