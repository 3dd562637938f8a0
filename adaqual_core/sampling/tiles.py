"""This module decides where the network is run: which parts of a picture need it, and in which windows (our definition).

The picture is divided into tiles of 64 px, the unit that is either run or skipped. What holds all active tiles is cut in
pieces where that is cheaper, then in blocks, and every block is run in a window that adds context.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from ..grid import CELL

Number = TypeVar("Number", int, float)

TILE = 64
"""Side in px of a tile that is run or skipped as a whole."""


@dataclass(frozen=True)
class Window:
    """This class is a block [top:bottom, left:right] to be computed, and the window around it that the network sees; in px."""

    top: int
    bottom: int
    left: int
    right: int
    window_top: int
    window_bottom: int
    window_left: int
    window_right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Return the height and width of the window."""
        return self.window_bottom - self.window_top, self.window_right - self.window_left


@dataclass(frozen=True)
class TileLayout:
    """This class holds the windows to run, and how many 64 px tiles there are in the picture and in the windows' blocks."""

    windows: tuple[Window, ...]
    tiles_total: int
    tiles_run: int


def active_tiles(restore_mask: Tensor, painted: Tensor | None = None, said: Tensor | None = None) -> Tensor:
    """Return which tiles [rows, columns] hold a pixel to restore, by the mask [1, 1, h, w] per cell, in which 0 means to keep.

    A cell's mask reaches half a cell into its neighbours when it is interpolated to pixels. Where ``painted`` [1, 1, H, W] is
    given, the mask per pixel that an artist painted, it counts instead. ``said`` [1, 1, H, W], the mask of damage that was set
    through masks, counts too.
    """
    if said is not None:
        return active_tiles(restore_mask, painted) | active_tiles(restore_mask, said)
    if painted is not None:
        return F.max_pool2d(painted, TILE, ceil_mode=True)[0, 0] > 0
    reach = F.max_pool2d(restore_mask, 3, 1, 1)
    cells = TILE // CELL
    height, width = reach.shape[-2:]
    padded = F.pad(reach, (0, -width % cells, 0, -height % cells))
    return F.max_pool2d(padded, cells)[0, 0] > 0


def borders(length: int, largest: int) -> list[int]:
    """Return the borders of the fewest nearly equal parts of at most ``largest`` into which ``length`` can be divided."""
    parts = -(-length // largest)
    return [round(i * length / parts) for i in range(parts + 1)]


Box = tuple[int, int, int, int]
"""Top, bottom, left and right of a part of the grid of tiles."""


def _trimmed(active: np.ndarray, box: Box) -> Box | None:
    """Return the smallest part of ``box`` that holds all its active tiles, or None if it holds none."""
    top, bottom, left, right = box
    part = active[top:bottom, left:right]
    ys, xs = part.any(1).nonzero()[0], part.any(0).nonzero()[0]
    if not len(ys):
        return None
    return top + int(ys[0]), top + int(ys[-1]) + 1, left + int(xs[0]), left + int(xs[-1]) + 1


def _windowed(first: Number, last: Number, length: int, context: Number) -> tuple[Number, Number]:
    """Return the side from ``first`` to ``last`` extended by the context, as far as the picture reaches."""
    return max(first - context, 0), min(last + context, length)


def _pieces(active: np.ndarray, box: Box, context: float) -> list[Box]:
    """Return ``box`` cut in two, and its parts again, for as long as that makes the windows' total area smaller; in tiles."""

    def extent(first: int, last: int, length: int) -> float:
        start, stop = _windowed(first, last, length, context)
        return stop - start

    def area(boxes: list[Box]) -> float:
        rows, columns = active.shape
        return sum(extent(t, b, rows) * extent(x, r, columns) for t, b, x, r in boxes)

    top, bottom, left, right = box
    cuts = [((top, y, left, right), (y, bottom, left, right)) for y in range(top + 1, bottom)]
    cuts += [((top, bottom, left, x), (top, bottom, x, right)) for x in range(left + 1, right)]
    halves = [[found for part in cut if (found := _trimmed(active, part))] for cut in cuts]
    best = min(halves, key=area, default=[box])
    if area(best) >= area([box]):
        return [box]
    return [piece for half in best for piece in _pieces(active, half, context)]


def window_limit(tile: int, context: int, count: int) -> int:
    """Return how many px are run at once: as many as ``count`` square tiles of ``tile`` px with their context have together."""
    return count * (tile // TILE * TILE + 2 * context) ** 2


@dataclass(frozen=True)
class _Parts:
    """These are the nearly equal parts of a side, [first, last) in tiles, the size of the largest one's window and the sum of
    all windows' sizes in px.
    """

    parts: tuple[tuple[int, int], ...]
    largest: int
    total: int


def _parts(first: int, last: int, length: int, context: int) -> list[_Parts]:
    """Return every way to divide a side of ``last`` − ``first`` tiles in nearly equal parts, from one part to one per tile.
    ``context`` and ``length`` are in px.
    """
    found: dict[tuple[int, ...], _Parts] = {}
    for largest in range(last - first, 0, -1):
        edges = [first + edge for edge in borders(last - first, largest)]
        parts = tuple(zip(edges[:-1], edges[1:], strict=True))
        sides = [_windowed(part[0] * TILE, part[1] * TILE, length, context) for part in parts]
        sizes = [stop - start for start, stop in sides]
        found.setdefault(tuple(edges), _Parts(parts, max(sizes), sum(sizes)))
    return list(found.values())


def _divided(box: Box, height: int, width: int, limit: int, context: int) -> list[Box]:
    """Return ``box`` divided in rows and columns so that the windows' total area is smallest while none exceeds ``limit`` px."""
    top, bottom, left, right = box
    columns = _parts(left, right, width, context)
    pairs = []
    for rows in _parts(top, bottom, height, context):  # fewer columns are cheaper: the first that fit are the best for these rows
        fitting = next((one for one in columns if rows.largest * one.largest <= limit), None)
        if fitting is not None:
            pairs.append((rows, fitting))
    rows, across = min(pairs, key=lambda pair: (pair[0].total * pair[1].total, len(pair[0].parts) * len(pair[1].parts)))
    return [(*r, *c) for r in rows.parts for c in across.parts]


def plan(active: Tensor, height: int, width: int, limit: int, context: int) -> TileLayout:
    """Return windows that cover all active tiles of a picture of ``height`` × ``width`` px (both multiples of 16).

    ``active``: bool [ceil(height/64), ceil(width/64)]; ``context``: px seen around each block, a multiple of 16; ``limit``: the
    most px of a window, at least :func:`window_limit` of one tile. One large window has less context than many small ones.
    """
    grid = active.numpy()
    windows, tiles_run = [], 0
    whole = _trimmed(grid, (0, grid.shape[0], 0, grid.shape[1]))
    for piece in _pieces(grid, whole, context / TILE) if whole else ():
        for part in _divided(piece, height, width, limit, context):
            block = _trimmed(grid, part)
            for first, last, start, stop in _pieces(grid, block, context / TILE) if block else ():
                tiles_run += (last - first) * (stop - start)
                y, x = (first * TILE, min(height, last * TILE)), (start * TILE, min(width, stop * TILE))
                windows.append(Window(*y, *x, *_windowed(*y, height, context), *_windowed(*x, width, context)))
    return TileLayout(tuple(windows), active.numel(), tiles_run)


def batches(layout: TileLayout, limit: int) -> list[tuple[Window, ...]]:
    """Return the windows in groups of equal shape that have at most ``limit`` px together."""
    groups: dict[tuple[int, int], list[Window]] = {}
    for window in layout.windows:
        groups.setdefault(window.shape, []).append(window)
    found = []
    for (height, width), group in groups.items():
        size = max(1, limit // (height * width))
        found += [tuple(group[i : i + size]) for i in range(0, len(group), size)]
    return found
