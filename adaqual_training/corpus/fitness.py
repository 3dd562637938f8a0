"""Which kinds of damage a photo shows itself: for those kinds it is no clean example (our definition, thresholds set by looking).

A photo that is dark in itself teaches nothing about light that was taken away; the same holds for haze, noise, blur and JPEG blocks.
Every measure is taken on the 8-bit pixels as they are stored in the corpus. Falling snow or rain cannot be measured this way: those
photos are named in :mod:`adaqual_training.corpus.reviewed`.
"""

import numpy as np
from PIL import Image

from adaqual_training.corpus.selection import blockiness, luma

DARK_MEAN, DARK_HALF = 0.28, 0.10
"""A photo is dark when its mean luma is below the first, or the median of its luma below the second (a dark ground and lamps)."""

BLACK_SHARE = 0.40
"""A photo is backlit when at least this share of its pixels is nearly black (luma below 0.08)."""

VEIL, VEIL_CHROMA = 0.16, 0.22
"""A photo is hazy when the 2 % quantile of its dark channel is at least VEIL and its mean chroma below VEIL_CHROMA."""

GRAIN = 2.6
"""A photo is grainy when the fine contrast of its evenest textured blocks is at least this many of 255 levels."""

SOFT_EDGE = 0.42
"""A photo is blurred when its strongest steps over one pixel are less than this share of its strongest steps over four."""

BLOCKY = 1.12
"""A photo is compressed when luma steps across the 8×8 grid are this many times those beside it."""


def _dark_channel(pixels: np.ndarray) -> np.ndarray:
    """Minimum over the colours and over tiles of about a fortieth of the shorter side, in [0, 1] (He et al. 2009, with tiles)."""
    darkest = pixels.min(axis=2)
    side = max(4, min(darkest.shape) // 40)
    height, width = (length // side * side for length in darkest.shape)
    return darkest[:height, :width].reshape(height // side, side, width // side, side).min(axis=(1, 3)) / 255


def _grain(grey: np.ndarray) -> float:
    """Fine contrast (Immerkær 1996: a mask blind to slopes) in levels of 255, median of the evenest tenth of the mid-grey blocks."""
    fine = (
        grey[:-2, :-2] + grey[2:, :-2] + grey[:-2, 2:] + grey[2:, 2:] + 4 * grey[1:-1, 1:-1]
        - 2 * (grey[1:-1, :-2] + grey[1:-1, 2:] + grey[:-2, 1:-1] + grey[2:, 1:-1])
    ) / 6  # fmt: skip
    height, width = (side // 12 * 12 for side in fine.shape)
    tiles = (height // 12, 12, width // 12, 12)
    spread = np.sqrt((fine[:height, :width].reshape(tiles) ** 2).mean(axis=(1, 3)))
    level = grey[1:-1, 1:-1][:height, :width].reshape(tiles).mean(axis=(1, 3))
    middle = spread[(level > 15) & (level < 240)]
    return float(np.quantile(middle, 0.05)) if middle.size >= 20 else 0.0


def _edge(grey: np.ndarray) -> float:
    """Strongest steps over one pixel as a share of the strongest over four: 1 for a hard edge, 0.25 for a wide ramp."""
    quantiles = []
    for distance in (1, 4):
        steps = [np.abs(grey[:, distance:] - grey[:, :-distance]), np.abs(grey[distance:] - grey[:-distance])]
        quantiles.append(np.mean([np.quantile(step, 0.995) for step in steps]))
    return float(quantiles[0] / max(quantiles[1], 1.0))


def fitness(pixels: np.ndarray) -> dict[str, float]:
    """What decides :func:`unfit`, for uint8 RGB pixels [H, W, 3] with both sides of at least 64 px."""
    grey = luma(pixels)
    dark = _dark_channel(pixels)
    even = np.asarray(Image.fromarray(pixels).reduce(4)).astype(np.float32)
    return {
        "mean": float(grey.mean()) / 255,
        "median": float(np.median(grey)) / 255,
        "black": float(np.mean(grey < 0.08 * 255)),
        "bright": float(np.quantile(grey, 0.95)) / 255,
        "veil": float(np.quantile(dark, 0.02)),
        "veil_half": float(np.quantile(dark, 0.5)),
        "contrast": float(np.quantile(grey, 0.95) - np.quantile(grey, 0.05)) / 255,
        "colour": float((even.max(axis=2) - even.min(axis=2)).mean()) / 255,
        "grain": _grain(grey),
        "edge": _edge(grey),
        "blocky": blockiness(pixels),
    }


def unfit(found: dict[str, float]) -> list[str]:
    """The kinds, in the order of the core's KINDS, for which a photo with these measures is no clean example."""
    shown = {
        "low": found["mean"] < DARK_MEAN or found["median"] < DARK_HALF or found["black"] > BLACK_SHARE,
        "haze": found["veil"] > VEIL and found["colour"] < VEIL_CHROMA,
        "blur": found["edge"] < SOFT_EDGE,
        "noise": found["grain"] > GRAIN,
        "jpeg": found["blocky"] > BLOCKY,
    }
    return [kind for kind, is_shown in shown.items() if is_shown]
