"""This module plans the windows for networks that look at the picture as a whole, as AdaQual-Diff's does.

Their channel attention averages over all that they see, so a picture is not cut into tiles: it is run whole, exactly as
published. Where the quality map keeps parts of it, each connected damaged region is run in a window of its own with a
margin of CONTEXT px, and its averages are those of that window. Regions above (WHOLE · tile)² px are run in pieces, with
averages over a local window instead; these are the only places where pieces do not equal the whole exactly.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..grid import CELL
from ..networks.family import WHOLE
from ..networks.runner import Runner
from ..prompt import Prompt
from .settings import RestoreSettings
from .tiles import TILE, Window, borders
from .windows import WindowPlan

CONTEXT = 32
"""Kept px that the network sees around a damaged region. Nothing is blended there, so it need not see all it could."""

LARGEST_POOL = 384
"""Local window in px of the channel attention in pieces: 1.5 times the authors' training crop, as Chu et al. advise."""


def _boxes(needed: Tensor) -> list[tuple[int, int, int, int]]:
    """Return boxes (top, bottom, left, right) around the connected regions of a mask [h, w], joined until none overlap."""
    left = {(y, x) for y, x in needed.nonzero().tolist()}
    boxes = []
    while left:
        stack = [left.pop()]
        top, bottom, start, stop = stack[0][0], stack[0][0] + 1, stack[0][1], stack[0][1] + 1
        while stack:
            y, x = stack.pop()
            top, bottom, start, stop = min(top, y), max(bottom, y + 1), min(start, x), max(stop, x + 1)
            near = left.intersection(((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)))
            left -= near
            stack += near
        boxes.append((top, bottom, start, stop))
    joined = []
    while boxes:
        box = boxes.pop()
        other = next((o for o in boxes if box[0] < o[1] and o[0] < box[1] and box[2] < o[3] and o[2] < box[3]), None)
        if other is None:
            joined.append(box)
        else:  # the larger box may overlap any other: look again at all of them
            boxes.remove(other)
            boxes += joined
            boxes.append((min(box[0], other[0]), max(box[1], other[1]), min(box[2], other[2]), max(box[3], other[3])))
            joined = []
    return sorted(joined)


def windows_of(mask: Tensor, tile: int, step: int, radius: int) -> tuple[list[Window], int | None]:
    """Return windows that cover all pixels above 0 of ``mask`` [H, W], and the side in px of the window over which the network
    averages if any of them is a piece, otherwise None.

    ``step``: px that windows must start at a multiple of; ``radius``: px that pieces would see beside them, had they the
    room.
    """
    height, width = mask.shape
    half, margin = CELL // 2, 2 * CONTEXT // CELL  # half cells are as fine as the mask's edges
    reach = F.max_pool2d(F.max_pool2d(mask[None, None], half, ceil_mode=True), 2 * margin + 1, 1, margin)
    boxes = _boxes(F.max_pool2d(reach, step // half, ceil_mode=True)[0, 0] > 0)
    largest = WHOLE * tile
    context = step * -(-min(radius, tile) // step)
    windows, pooled = [], None
    for box in boxes:
        top, bottom, left, right = (step * side for side in box)
        bottom, right = min(height, bottom), min(width, right)
        if (bottom - top) * (right - left) <= largest**2:
            windows.append(Window(top, bottom, left, right, top, bottom, left, right))
            continue
        pooled = min(LARGEST_POOL, 2 * context)
        part = (largest - 2 * context) // step
        rows, columns = (
            [min(last, first + step * place) for place in borders(-(-(last - first) // step), part)]
            for first, last in ((top, bottom), (left, right))
        )
        windows += [
            Window(
                y0,
                y1,
                x0,
                x1,
                max(top, y0 - context),
                min(bottom, y1 + context),
                max(left, x0 - context),
                min(right, x1 + context),
            )
            for y0, y1 in zip(rows[:-1], rows[1:], strict=True)
            for x0, x1 in zip(columns[:-1], columns[1:], strict=True)
        ]
    return windows, pooled


def _tiles_touched(windows: list[Window], height: int, width: int) -> int:
    """Return how many 64 px tiles of a picture of that size lie in the windows' blocks, wholly or in part."""
    seen = torch.zeros(-(-height // TILE), -(-width // TILE), dtype=torch.bool)
    for w in windows:
        seen[w.top // TILE : -(-w.bottom // TILE), w.left // TILE : -(-w.right // TILE)] = True
    return int(seen.sum())


def damaged_regions(run: Runner, settings: RestoreSettings, prompt: Prompt) -> WindowPlan:
    """Return the plan that runs each region, which one picture's prompt asks to restore, in a window of its own.

    ``settings.tile`` decides how much is run at once, see WHOLE; ``overlap`` is not heeded.
    """
    step = max(CELL, 2 ** len(run.model.config.encoder))
    height, width = prompt.quality.height, prompt.quality.width
    windows, pooled = windows_of(prompt.pixel_mask(0), settings.tile, step, run.model.receptive_radius)
    tiles = -(-height // TILE) * -(-width // TILE)
    return WindowPlan(tuple((w,) for w in windows), (height, width), tiles, _tiles_touched(windows, height, width), pooled)
