"""This module estimates a whole picture with a network that is run in windows.

Every step is finished over the whole picture before the next begins, and the restore mask is part of each prediction. Where
windows see at least the network's receptive field, the result does not depend on how the picture is cut, and where the mask is
zero the network need not be run at all (method section 3).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..grid import CELL, cell_count, mirrored
from ..networks.family import Told
from ..networks.registry import family_of
from ..networks.runner import Runner
from ..prompt import Prompt
from .ddim import Estimate, alphas_cumprod
from .settings import RestoreSettings
from .tiles import Window, active_tiles, batches, plan, window_limit

Group = tuple[Window, ...]
"""Windows of equal size, which are run together."""


@dataclass(frozen=True)
class WindowPlan:
    """This class says in which windows a picture is run.

    ``shape``: height and width in px of the sampler's state. ``pool_window``: side in px of the windows over which the network
    averages, None where it averages over all that it sees, or not at all.
    """

    groups: tuple[Group, ...]
    shape: tuple[int, int]
    tiles_total: int
    tiles_run: int
    pool_window: int | None = None

    @property
    def runs(self) -> int:
        """Return how often the network is run in a step."""
        return len(self.groups)

    def predictor(self, run: Runner, told: Told, prompt: Prompt, advance: Callable[[Tensor], None]) -> "Windowed":
        """Return the function that estimates the picture for :func:`ddim.ddim`."""
        return Windowed(self, run, told, prompt, advance)


def exact_windows(run: Runner, settings: RestoreSettings, prompt: Prompt) -> WindowPlan:
    """Return the plan with at least the network's receptive field around every tile in which one picture's prompt asks for
    anything.
    """
    height, width = prompt.quality.height, prompt.quality.width
    context = CELL * math.ceil(max(settings.overlap, run.model.receptive_radius) / CELL)
    shape = CELL * cell_count(height), CELL * cell_count(width)
    said = None if prompt.said is None else prompt.said[:, :1]
    active = active_tiles(prompt.restore_mask, prompt.painted, said)
    limit = window_limit(settings.tile, context, settings.tile_batch)
    layout = plan(active, *shape, limit, context)
    return WindowPlan(tuple(batches(layout, limit)), shape, layout.tiles_total, layout.tiles_run)


def seen(picture: Tensor, w: Window) -> Tensor:
    """Return a window of ``picture`` [3, H, W], mirrored where it reaches beyond the picture."""
    rows = mirrored(picture.shape[-2], w.window_top, w.window_bottom)
    columns = mirrored(picture.shape[-1], w.window_left, w.window_right)
    return picture[:, rows][:, :, columns]


def inner(found: Tensor, w: Window) -> Tensor:
    """Return the part of a network's output [C, h, w] for a window that belongs to the window's block."""
    return found[:, w.top - w.window_top : w.bottom - w.window_top, w.left - w.window_left : w.right - w.window_left]


def mask_of(prompt: Prompt, w: Window) -> Tensor:
    """Return the restore mask [1, h, w] per pixel of a window's block."""
    return prompt.block_mask(0, w.top, w.bottom, w.left, w.right)


def place_of(group: Group) -> str:
    """Return the windows' corners (x, y) as text for messages."""
    return "tile " + ", ".join(f"({w.left}, {w.top})" for w in group)


def _cells(field: Tensor, w: Window) -> Tensor:
    """Return the part of a field [1, C, h, w] per cell of the picture that lies in a window."""
    rows = slice(w.window_top // CELL, -(-w.window_bottom // CELL))
    return field[0, :, rows, w.window_left // CELL : -(-w.window_right // CELL)]


class Windowed:
    """This class estimates one picture, window by window. What the network is told beside the state is the same at every step.

    ``prompt`` is that of the one picture. ``advance(x0)`` is called after each run of the network with the estimate as far as it
    is known.
    """

    def __init__(self, plan: WindowPlan, run: Runner, told: Told, prompt: Prompt, advance: Callable[[Tensor], None]):
        self.plan, self.run, self.told, self.prompt, self.advance = plan, run, told, prompt, advance
        self.family = family_of(run.model)
        self.options = {} if plan.pool_window is None else {"pool_window": plan.pool_window}
        self.alphas = alphas_cumprod()
        self.x0 = torch.zeros(3, *plan.shape)  # every step writes the same blocks again; elsewhere it stays 0
        self.unclipped = torch.zeros(3, *plan.shape) if self.family.unclipped else None

    def __call__(self, state: Tensor, t: int) -> Estimate:
        """Return the estimate for ``state`` [3, H', W'] at timestep ``t``, masked and clamped to ±1."""
        for group in self.plan.groups:
            found = self.run(self._inputs(group, state, t), place_of(group), self.family.part, **self.options)
            for w, residual in zip(group, found, strict=True):
                block = (slice(None), slice(w.top, w.bottom), slice(w.left, w.right))
                residual, mask = inner(residual, w), mask_of(self.prompt, w)
                if self.unclipped is not None:
                    self.unclipped[block] = residual * mask
                self.x0[block] = residual.clamp(-1, 1).mul(mask)
            self.advance(self.x0)
        return Estimate(self.x0, self.unclipped)

    def _inputs(self, group: Group, state: Tensor, t: int) -> dict[str, Tensor]:
        """Return the network's arguments for a group of windows, by name."""
        told, count = self.told, len(group)
        inputs = {name: torch.stack([seen(picture, w) for w in group]) for name, picture in told.pictures.items()}
        noisy = [state[:, w.window_top : w.window_bottom, w.window_left : w.window_right] for w in group]
        inputs |= {
            "noisy": torch.stack(noisy),
            "timestep": torch.full((count,), t),
            "alpha_cumprod": torch.full((count,), float(self.alphas[t])),
        }
        inputs |= {name: torch.stack([_cells(field, w) for w in group]) for name, field in told.cells.items()}
        return inputs | {name: value.expand(count, *value.shape[1:]) for name, value in told.whole.items()}
