"""Restoration by networks that look at the picture as a whole: the official AdaQual layout.

Their channel attention averages over all that they see, so a picture is not cut into tiles: it is run whole, exactly as
published. Where the quality map keeps parts of it, each connected damaged region is run in a window of its own with a
margin of CONTEXT px, and its averages are those of that window. Regions above (WHOLE · tile)² px are run in pieces, with
averages over a local window instead; these are the only places where pieces do not equal the whole exactly.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..grid import CELL
from ..networks.adaqual_diff import OfficialNet
from ..prompt import Prompt
from .ddim import alphas_cumprod, ddim_step, previous_alpha, timesteps
from .runner import Runner
from .settings import Preview, Progress, Restored, RestoreSettings, check_inputs, counted, draw_noise, preview_of
from .tiles import TILE, Window, borders

WHOLE = 4
"""Times ``tile``: the side in px of the largest square that is run whole (2048 px at the default of 512)."""

CONTEXT = 32
"""Kept px that the network sees around a damaged region. Nothing is blended there, so it need not see all it could."""

LARGEST_POOL = 384
"""Local window in px of the channel attention in pieces: 1.5 times the authors' training crop, as Chu et al. advise."""


PUBLISHED = RestoreSettings(steps=2, schedule="official")
"""What the authors sample with."""


def _boxes(needed: Tensor) -> list[tuple[int, int, int, int]]:
    """Boxes (top, bottom, left, right) around the connected regions of a mask [h, w], joined until none overlap."""
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
    """Windows that cover all pixels above 0 of ``mask`` [H, W], and the pool's window in px if any of them is a piece.

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
                y0, y1, x0, x1, max(top, y0 - context), min(bottom, y1 + context), max(left, x0 - context),
                min(right, x1 + context),
            )
            for y0, y1 in zip(rows[:-1], rows[1:], strict=True)
            for x0, x1 in zip(columns[:-1], columns[1:], strict=True)
        ]  # fmt: skip
    return windows, pooled


def _tiles_touched(windows: list[Window], height: int, width: int) -> int:
    seen = torch.zeros(-(-height // TILE), -(-width // TILE), dtype=torch.bool)
    for w in windows:
        seen[w.top // TILE : -(-w.bottom // TILE), w.left // TILE : -(-w.right // TILE)] = True
    return int(seen.sum())


def _restore_one(
    run: Runner,
    source: Tensor,
    prompt: Prompt,
    index: int,
    mask: Tensor,
    windows: list[Window],
    pooled: int | None,
    settings: RestoreSettings,
    advance: Callable[[Preview], None],
) -> Tensor:
    """Residual [3, H, W] of one picture, times ``mask`` [H, W]."""
    shape, one = (source.shape[-2], source.shape[-1]), slice(index, index + 1)
    alphas, steps = alphas_cumprod(), timesteps(settings.schedule, settings.steps)
    state = draw_noise(shape, run.model.config.noise_scale, settings.seed)
    raw, residual = torch.zeros(3, *shape), torch.zeros(3, *shape)  # every step writes the same windows again
    for number, t in enumerate(steps):
        alpha = float(alphas[t])
        for w in windows:
            rows, columns = slice(w.window_top, w.window_bottom), slice(w.window_left, w.window_right)
            cells = (
                slice(w.window_top // CELL, -(-w.window_bottom // CELL)),
                slice(w.window_left // CELL, -(-w.window_right // CELL)),
            )
            inputs = [
                source[None, :, rows, columns], state[None, :, rows, columns], torch.tensor([t]), torch.tensor([alpha]),
                prompt.severity[one][..., cells[0], cells[1]], prompt.length[one][..., cells[0], cells[1]],
                prompt.statistics[one],
            ]  # fmt: skip
            found = run(inputs, f"tile ({w.left}, {w.top})", pool_window=pooled)[0]
            top, left = w.top - w.window_top, w.left - w.window_left
            found = found[:, top : top + w.bottom - w.top, left : left + w.right - w.left]
            block = (slice(None), slice(w.top, w.bottom), slice(w.left, w.right))
            raw[block], residual[block] = found * mask[block[1:]], found.clamp(-1, 1) * mask[block[1:]]
            advance(lambda: preview_of(source, residual, settings.strength))
        following = previous_alpha(alphas, steps, number)
        if number + 1 < len(steps):
            fresh = None
            if settings.eta > 0:
                fresh = draw_noise(shape, run.model.config.noise_scale, settings.seed, number + 1)
            state = ddim_step(state, residual, alpha, following, settings.eta, fresh, unclipped=raw)
    return residual


def restore_whole(
    model: OfficialNet,
    picture: Tensor,
    prompt: Prompt,
    settings: RestoreSettings = PUBLISHED,
    *,
    dtype: torch.dtype | None = None,
    progress: Progress | None = None,
) -> Restored:
    """Restore ``picture`` [B, 3 or 4, H, W] in [0, 1] where ``prompt`` asks for it, as :func:`restore.restore` does.

    A picture that is damaged everywhere comes out as from the authors' sampler (its noise direction is read from the
    residual before clamping, as theirs is). ``tile`` decides how much is run at once, see WHOLE; ``overlap`` is not heeded.
    """
    check_inputs(picture, prompt)
    height, width = picture.shape[-2:]
    run, step = Runner(model, dtype), max(CELL, 2 ** len(model.config.encoder))
    masks = [prompt.pixel_mask(index) for index in range(len(picture))]
    if settings.strength == 0:
        masks = [torch.zeros_like(mask) for mask in masks]
    plans = [windows_of(mask, settings.tile, step, model.receptive_radius) for mask in masks]
    total = settings.steps * sum(len(windows) for windows, _ in plans)
    result = torch.empty(picture.shape, dtype=torch.float32)
    advance = counted(progress, total)
    for index, (mask, (windows, pooled)) in enumerate(zip(masks, plans, strict=True)):
        source = picture[index, :3].detach().to("cpu", torch.float32).clamp(0, 1)
        result[index, :3] = source
        if windows:
            residual = _restore_one(run, source, prompt, index, mask, windows, pooled, settings, advance)
            result[index, :3] = torch.add(source, residual, alpha=settings.strength).clamp_(0, 1)
        result[index, 3:] = picture[index, 3:]
    tiles = -(-height // TILE) * -(-width // TILE)
    return Restored(result, len(plans) * tiles, sum(_tiles_touched(windows, height, width) for windows, _ in plans))
