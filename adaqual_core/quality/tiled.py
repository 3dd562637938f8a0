"""This module scores whole pictures with a large assessor, and makes dense maps from overlapping tiles (our definition).

A tile is as large as the network's input (448 px for DeQA-Score, 224 px for most CLIPs), so its pixels reach the network
unscaled. A cell's local score is the mean of the tiles over it, weighted by sin² of the cell's position in the tile. These
weights fade tiles in and out, and they sum to one. A small tile alone misleads: flat sky has no detail and scores low. So every
cell is moved toward the score of the whole picture: Q = local + blend · (whole − local).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from ..checks import check_picture
from ..grid import CELL, HIGHEST, LOWEST, cell_count, mirrored
from ..visible import filled, without_invisible
from .cache import ScoreCache, cache_key
from .deqa.preprocess import normalised, quantised, whole_picture
from .map import QualityMap

Progress = Callable[[int, int], None]


class Scorer(Protocol):
    """This protocol is an assessor that gives one score to a square picture: DeQA-Score or CLIP-IQA."""

    @property
    def name(self) -> str:
        """Return the assessor's name, which its maps carry."""
        ...

    @property
    def size(self) -> int:
        """Return the side in px of the square."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Return the type in which the network computes; it is part of a score's key in the cache."""
        ...

    @property
    def fingerprint(self) -> str:
        """Return a hash of the weights; it is part of a score's key in the cache."""
        ...

    @property
    def layer_count(self) -> int:
        """Return the number of times that :meth:`score` reports each picture to ``tick``."""
        ...

    def score(self, count: int, prepare: Callable[[int], Tensor], batch: int, tick: Callable[[int], None]) -> Tensor:
        """Return the scores [count] in [1, 5], float32 on the CPU, of the pictures that ``prepare(0)`` to ``prepare(count - 1)``
        give: normalised, [3, size, size]. ``batch`` of them run at once, and ``tick(n)`` is told when n have passed a layer."""
        ...


def tile_starts(length: int, tile: int, overlap: float) -> list[int]:
    """Return evenly spread starts of the fewest tiles that cover ``length`` px and overlap by at least ``overlap`` of a tile.

    A side shorter than a tile gets one tile around its centre, which begins before 0.
    """
    if length <= tile:
        return [-((tile - length) // 2)]
    step = max(1, int(tile * (1 - overlap)))
    last = math.ceil((length - tile) / step)
    return [round(number * (length - tile) / last) for number in range(last + 1)]


def tile_weights(length: int, starts: list[int], tile: int) -> Tensor:
    """Return the weight of each tile in each cell of a side, [cells, tiles]. The rows sum to 1."""
    centres = (torch.arange(cell_count(length)) * CELL + CELL / 2).clamp(max=length - 0.5)
    position = (centres[:, None] - torch.tensor(starts)) / tile
    # the floor decides where tiles only touch and all sines are 0
    weights = (torch.sin(math.pi * position) ** 2 + 1e-4) * ((position >= 0) & (position < 1))
    return weights / weights.sum(1, keepdim=True)


def _prepare(pixels: Tensor, corners: list[tuple[int, int]], size: int, number: int) -> Tensor:
    """Return input ``number`` of a picture: the whole picture for 0, its tiles for 1 and above."""
    if number == 0:
        return whole_picture(pixels, size)
    top, left = corners[number - 1]
    rows = mirrored(pixels.shape[1], top, top + size)
    columns = mirrored(pixels.shape[2], left, left + size)
    return normalised(pixels[:, rows][:, :, columns])


def _score(
    scorer: Scorer,
    picture: Tensor,
    corners: list[tuple[int, int]],
    settings: dict,
    batch: int,
    cache: ScoreCache | None,
    progress: Progress | None,
) -> Tensor:
    """Return the scores [B, 1 + tiles] of each picture and of its tiles at ``corners``. Cached scores are not computed again."""
    settings = {**settings, "dtype": str(scorer.dtype)}
    count, every, missing = 1 + len(corners), [], []
    keys = [cache_key(quantised(one[:3]), scorer.fingerprint, settings) for one in picture] if cache else []
    for number in range(len(picture)):
        every.append(cache.get(keys[number], count) if cache else None)
        if every[-1] is None:
            missing.append(number)
    total, done = len(missing) * count * scorer.layer_count, 0

    def tick(pictures: int) -> None:
        nonlocal done
        done += pictures
        if progress is not None:
            progress(done, total)

    for number in missing:
        prepare = partial(_prepare, quantised(picture[number, :3]), corners, scorer.size)
        every[number] = scorer.score(count, prepare, batch, tick).tolist()
        if cache:
            cache.put(keys[number], every[number])
    return torch.tensor(every, dtype=torch.float32)


def score_pictures(
    scorer: Scorer,
    picture: Tensor,
    *,
    batch: int = 8,
    cache: ScoreCache | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Return one score per picture, [B] in [1, 5], of pictures [B, 3 or 4, H, W] in [0, 1] as a whole.

    The other arguments are those of :func:`estimate_quality_by_tiles`.
    """
    check_picture(picture)
    return _score(scorer, filled(picture), [], {"kind": "whole"}, batch, cache, progress)[:, 0]


def estimate_quality_by_tiles(
    scorer: Scorer,
    picture: Tensor,
    *,
    overlap: float = 0.5,
    blend: float = 1 / 3,
    batch: int = 8,
    cache: ScoreCache | None = None,
    progress: Progress | None = None,
) -> QualityMap:
    """Return the quality map of pictures [B, 3 or 4, H, W] in [0, 1], made of one score per cell of 16 px. Alpha only says what
    is invisible.

    ``overlap``: part of a tile that its neighbour covers too, at least, in [0, 0.9]; more is finer and slower.
    ``blend`` in [0, 1]: how far the whole picture's score replaces the local one. ``batch`` tiles run at once.
    ``cache``: scores of these pixels with these weights are kept there; ``blend`` may change without scoring again.
    ``progress(done, total)`` counts layers × tiles; what it raises cancels. Raises ValueError for bad input before any
    work.
    """
    if not 0 <= overlap <= 0.9:
        raise ValueError(f"overlap: {overlap}; give a part of a tile in [0, 0.9] (0.5 suits most pictures)")
    if not 0 <= blend <= 1:
        raise ValueError(f"blend: {blend}; give 0 (only local) to 1 (only the whole picture)")
    if batch < 1:
        raise ValueError(f"batch: {batch}; give at least 1")
    check_picture(picture)
    picture = filled(picture)
    height, width = picture.shape[-2:]
    ys, xs = (tile_starts(side, scorer.size, overlap) for side in (height, width))
    corners = [(top, left) for top in ys for left in xs]
    scores = _score(scorer, picture, corners, {"kind": "tiles", "overlap": overlap}, batch, cache, progress)
    whole, tiles = scores[:, 0], scores[:, 1:].view(-1, 1, len(ys), len(xs))
    local = tile_weights(height, ys, scorer.size) @ tiles @ tile_weights(width, xs, scorer.size).T
    blended = local + blend * (whole.view(-1, 1, 1, 1) - local)
    return QualityMap(without_invisible(blended.clamp(LOWEST, HIGHEST), picture), height, width, scorer.name)
