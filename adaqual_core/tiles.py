"""Where the network is run: which parts of a picture need it, and in which windows (our definition).

The picture is divided into tiles of 64 px, the unit that is either run or skipped. Blocks of at most ``tile`` px are cut
down to what they hold of active tiles, in pieces where that is cheaper, and every piece is run in a window that adds context.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .quality import CELL

TILE = 64
"""Side in px of a tile that is run or skipped as a whole."""


@dataclass(frozen=True)
class Window:
    """A block [top:bottom, left:right] to be computed and the window around it that the network sees; in px."""

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
        """Height and width of the window."""
        return self.window_bottom - self.window_top, self.window_right - self.window_left


@dataclass(frozen=True)
class TileLayout:
    """Windows to run, and how many 64 px tiles there are in the picture and in the windows' blocks."""

    windows: tuple[Window, ...]
    tiles_total: int
    tiles_run: int


def active_tiles(preservation: Tensor) -> Tensor:
    """Which tiles [rows, columns] hold a pixel to restore, from the mask [1, 1, h, w] per cell, 0 = keep.

    A cell's mask reaches half a cell into its neighbours when it is interpolated to pixels.
    """
    reach = F.max_pool2d(preservation, 3, 1, 1)
    cells = TILE // CELL
    height, width = reach.shape[-2:]
    padded = F.pad(reach, (0, -width % cells, 0, -height % cells))
    return F.max_pool2d(padded, cells)[0, 0] > 0


def pixel_mask(preservation: Tensor, height: int, width: int) -> Tensor:
    """Preservation [h, w] per cell as [height, width] per pixel, interpolated between cell centres; 0 = keep."""
    fine = F.interpolate(preservation[None, None], scale_factor=CELL, mode="bilinear", align_corners=False)
    return fine[0, 0, :height, :width]


def borders(length: int, largest: int) -> list[int]:
    """Borders of the fewest nearly equal parts of at most ``largest``."""
    parts = -(-length // largest)
    return [round(i * length / parts) for i in range(parts + 1)]


def _trimmed(active: Tensor, top: int, bottom: int, left: int, right: int) -> tuple[int, int, int, int] | None:
    """The smallest part of these rows and columns that holds all their active tiles; None where there are none."""
    part = active[top:bottom, left:right]
    if not bool(part.any()):
        return None
    ys, xs = part.any(1).nonzero().flatten().tolist(), part.any(0).nonzero().flatten().tolist()
    return top + ys[0], top + ys[-1] + 1, left + xs[0], left + xs[-1] + 1


def _pieces(active: Tensor, box: tuple[int, int, int, int], context: float) -> list[tuple[int, int, int, int]]:
    """``box`` cut in two, and its parts again, for as long as that makes the windows' total area smaller; in tiles."""

    def area(boxes: list[tuple[int, int, int, int]]) -> float:
        return sum((b - t + 2 * context) * (r - x + 2 * context) for t, b, x, r in boxes)

    top, bottom, left, right = box
    cuts = [((top, y, left, right), (y, bottom, left, right)) for y in range(top + 1, bottom)]
    cuts += [((top, bottom, left, x), (top, bottom, x, right)) for x in range(left + 1, right)]
    halves = [[found for part in cut if (found := _trimmed(active, *part))] for cut in cuts]
    best = min(halves, key=area, default=[box])
    if area(best) >= area([box]):
        return [box]
    return [piece for half in best for piece in _pieces(active, half, context)]


def plan(active: Tensor, height: int, width: int, tile: int, context: int) -> TileLayout:
    """Windows that cover all active tiles of a picture of ``height`` × ``width`` px (both multiples of 16).

    ``active``: bool [ceil(height/64), ceil(width/64)]; ``tile``: largest side of a block, a multiple of 64 px;
    ``context``: px seen around each block, a multiple of 16.
    """
    windows, tiles_run = [], 0
    rows, columns = borders(active.shape[0], tile // TILE), borders(active.shape[1], tile // TILE)
    for y0, y1 in zip(rows[:-1], rows[1:], strict=True):
        for x0, x1 in zip(columns[:-1], columns[1:], strict=True):
            block = _trimmed(active, y0, y1, x0, x1)
            for piece in _pieces(active, block, context / TILE) if block else ():
                tiles_run += (piece[1] - piece[0]) * (piece[3] - piece[2])
                top, left = piece[0] * TILE, piece[2] * TILE
                bottom, right = min(height, piece[1] * TILE), min(width, piece[3] * TILE)
                windows.append(
                    Window(
                        top, bottom, left, right,
                        max(0, top - context), min(height, bottom + context),
                        max(0, left - context), min(width, right + context),
                    )
                )  # fmt: skip
    return TileLayout(tuple(windows), active.numel(), tiles_run)


def batches(layout: TileLayout, size: int) -> list[tuple[Window, ...]]:
    """Windows of equal shape grouped into batches of at most ``size``."""
    groups: dict[tuple[int, int], list[Window]] = {}
    for window in layout.windows:
        groups.setdefault(window.shape, []).append(window)
    return [tuple(group[i : i + size]) for group in groups.values() for i in range(0, len(group), size)]


def mirrored(length: int, start: int, stop: int) -> Tensor:
    """Indices of ``start``:``stop`` in a side of ``length`` px that is continued by reflection, for any length ≥ 1."""
    if length == 1:
        return torch.zeros(stop - start, dtype=torch.long)
    position = torch.arange(start, stop) % (2 * length - 2)
    return torch.where(position < length, position, 2 * length - 2 - position)
