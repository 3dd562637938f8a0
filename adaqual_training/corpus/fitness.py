"""This module finds the kinds of damage that a photo shows itself, for which it is no clean example (our definition).

A photo that is dark in itself teaches nothing about light that was taken away, and the same holds for haze, noise, blur and JPEG
blocks. Every measure is taken on the 8-bit pixels as they are stored in the corpus. The thresholds were set by looking at photos.
Falling snow, rain and fog in the distance are not found this way: reviewed.tsv names those photos.
"""

import numpy as np

from adaqual_training.corpus.selection import blockiness, luma

DARK_MEAN, DARK_HALF = 0.30, 0.12
"""A photo is dark when its mean luma is below the first, or the median of its luma below the second (a dark ground and lamps)."""

BLACK_SHARE = 0.25
"""A photo is backlit, or its shadows are lost, when at least this share of its pixels is nearly black (luma below 0.08)."""

VEIL = 0.10
"""A photo is hazy when the 2 % quantile of its dark channel is at least this: hardly anything in it is dark in any colour."""

GRAIN, TEXTURE = 1.4, 2.5
"""A photo is grainy when the fine contrast of its evenest blocks is at least GRAIN of 255 levels, unless the contrast of averages
of 3×3 px in those blocks is more than TEXTURE times as strong: then they are grass or stone."""

SOFT_EDGE = 0.40
"""A photo is blurred when its strongest steps over one pixel are less than this share of its strongest steps over four."""

BLOCKY = 1.10
"""A photo is compressed when luma steps across the 8×8 grid are this many times those beside it."""

BLOCK = 12
"""Side in px of the blocks in which grain is measured."""


def _dark_channel(pixels: np.ndarray) -> np.ndarray:
    """Return the minimum over the colours and over tiles of about a fortieth of the shorter side, in [0, 1] (He et al. 2009, with
    tiles)."""
    darkest = pixels.min(axis=2)
    side = max(4, min(darkest.shape) // 40)
    height, width = (length // side * side for length in darkest.shape)
    return darkest[:height, :width].reshape(height // side, side, width // side, side).min(axis=(1, 3)) / 255


def _grain(grey: np.ndarray) -> float:
    """Return the fine contrast in the evenest blocks in levels of 255, or 0 if even those show texture.

    Coarse contrast is the deviation of averages of 3×3 px inside a block; grain has hardly any, texture has much. The evenest
    blocks are the twentieth of the blocks, neither black nor white, with the least coarse contrast. Fine contrast is their
    response to Immerkær's mask (1996), which ignores slopes.
    """
    views = [[grey[top : top + grey.shape[0] - 2, left : left + grey.shape[1] - 2] for left in range(3)] for top in range(3)]
    mask = ((1, -2, 1), (-2, 4, -2), (1, -2, 1))
    fine = sum(mask[i][j] * views[i][j] for i in range(3) for j in range(3)) / 6
    mean = sum(view for row in views for view in row) / 9
    height, width = (side // BLOCK * BLOCK for side in fine.shape)

    def blocks(plane: np.ndarray) -> np.ndarray:
        return plane[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)

    level = blocks(mean).mean(axis=(1, 3))
    usable = (level > 15) & (level < 240)
    if usable.sum() < 20:
        return 0.0
    contrast = np.sqrt((blocks(fine) ** 2).mean(axis=(1, 3)))[usable]
    coarse = blocks(mean).std(axis=(1, 3))[usable]
    evenest = coarse <= np.quantile(coarse, 0.05)
    fine_level = float(np.median(contrast[evenest]))
    return fine_level if np.median(coarse[evenest]) <= TEXTURE * fine_level else 0.0


def _edge(grey: np.ndarray) -> float:
    """Return the strongest steps over one pixel as a share of the strongest over four: 1 for a hard edge, 0.25 for a wide
    ramp."""
    quantiles = []
    for distance in (1, 4):
        steps = [np.abs(grey[:, distance:] - grey[:, :-distance]), np.abs(grey[distance:] - grey[:-distance])]
        quantiles.append(np.mean([np.quantile(step, 0.995) for step in steps]))
    return float(quantiles[0] / max(quantiles[1], 1.0))


def fitness(pixels: np.ndarray) -> dict[str, float]:
    """Return the measures that decide :func:`unfit`, for uint8 RGB pixels [H, W, 3] with both sides of at least 64 px.

    ``mean``, ``median``: of the luma in [0, 1]. ``black``: share of pixels with a luma below 0.08. ``veil``: 2 % quantile of the
    dark channel in [0, 1]. ``grain``: in levels of 255. ``edge``: in [0, 1], 1 for hard edges. ``blocky``: 1 without JPEG blocks.
    """
    grey = luma(pixels)
    return {
        "mean": float(grey.mean()) / 255,
        "median": float(np.median(grey)) / 255,
        "black": float(np.mean(grey < 0.08 * 255)),
        "veil": float(np.quantile(_dark_channel(pixels), 0.02)),
        "grain": _grain(grey),
        "edge": _edge(grey),
        "blocky": blockiness(pixels),
    }


def unfit(found: dict[str, float]) -> list[str]:
    """Return the kinds of damage for which a photo with these measures is no clean example; empty for most photos."""
    shown = {
        "low": found["mean"] < DARK_MEAN or found["median"] < DARK_HALF or found["black"] >= BLACK_SHARE,
        "haze": found["veil"] >= VEIL,
        "blur": found["edge"] < SOFT_EDGE,
        "noise": found["grain"] >= GRAIN,
        "jpeg": found["blocky"] >= BLOCKY,
    }
    return [kind for kind, is_shown in shown.items() if is_shown]
