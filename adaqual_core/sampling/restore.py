"""The restoration pipeline: picture and prompt in, restored picture out, window by window and step by step.

Every diffusion step is finished over the whole picture before the next begins, and the restore mask is part of each
prediction. Windows see at least the network's receptive field, so the result does not depend on how the picture is cut,
and where the mask is zero the network need not be run at all (method.md section 3). A model's finish follows the last step.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..grid import CELL, block_of, cell_count, mirrored
from ..networks.denoiser import Denoiser
from ..networks.tone_grid import sliced, view_of
from ..prompt import Prompt
from .ddim import alphas_cumprod, ddim_step, previous_alpha, timesteps
from .runner import Runner
from .settings import Preview, Progress, Restored, RestoreSettings, check_inputs, counted, draw_noise, preview_of, small
from .tiles import TILE, TileLayout, Window, active_tiles, batches, plan


class _Windows:
    """One picture's data on the padded grid, cut into windows and sent to the network's device and dtype."""

    def __init__(self, run: Runner, picture: Tensor, prompt: Prompt, index: int):
        self.run, self.picture = run, picture
        self.height, self.width = (CELL * cell_count(side) for side in picture.shape[-2:])
        self.maps = (prompt.severity[index : index + 1], prompt.length[index : index + 1])
        self.mask = prompt.restore_mask[index : index + 1]
        self.paint = None if prompt.painted is None else prompt.painted[index]
        self.statistics = prompt.statistics[index : index + 1]

    def _seen(self, picture: Tensor, w: Window) -> Tensor:
        """A window of ``picture`` [3, H, W], mirrored where it reaches beyond."""
        rows = mirrored(picture.shape[-2], w.window_top, w.window_bottom)
        columns = mirrored(picture.shape[-1], w.window_left, w.window_right)
        return picture[:, rows][:, :, columns].clamp(0, 1)

    def _blocks(self, run: Runner, inputs: list[Tensor], group: tuple[Window, ...]) -> list[Tensor]:
        """What a network gives for each window's block, times the restore mask."""
        predicted = run(inputs, "tile " + ", ".join(f"({w.left}, {w.top})" for w in group))
        return [
            change[:, w.top - w.window_top : w.bottom - w.window_top, w.left - w.window_left : w.right - w.window_left]
            .clamp(-1, 1)
            .mul(self.block_mask(w))
            for change, w in zip(predicted, group, strict=True)
        ]

    def finish(
        self, layout: TileLayout, restored: Tensor, spare: Tensor, settings: RestoreSettings, advance: Callable[[Preview], None]
    ) -> None:
        """Finish ``restored`` [3, H, W] in place: its detail, collected in ``spare`` [3, H', W'] (0 outside the layout's blocks),
        then the whole picture's tone."""
        networks = self.run.model.finish
        height, width = restored.shape[-2:]
        view = view_of(self.picture[None], restored[None], self.maps[0])
        grid = Runner(networks.grid, self.run.dtype)([view], "the view of the whole picture")
        detail = Runner(networks.detail, self.run.dtype)
        for group in batches(layout, settings.tile_batch):
            inputs = [torch.stack([self._seen(p, w) for w in group]) for p in (self.picture, restored)]
            for w, block in zip(group, self._blocks(detail, inputs, group), strict=True):
                spare[:, w.top : w.bottom, w.left : w.right] = block
            advance(lambda: torch.lerp(small(self.picture), preview_of(restored, spare, 1.0), settings.strength).clamp(0, 1))
        restored.add_(spare[:, :height, :width]).clamp_(0, 1)
        for w in layout.windows:
            part = restored[:, w.top : w.bottom, w.left : w.right]
            y = (torch.arange(w.top, w.top + part.shape[1]) + 0.5) / height
            x = (torch.arange(w.left, w.left + part.shape[2]) + 0.5) / width
            mask = self.block_mask(w)[:, : part.shape[1], : part.shape[2]]
            part.add_(mask * sliced(grid, part[None], y, x)[0]).clamp_(0, 1)

    def block_mask(self, w: Window) -> Tensor:
        """The restore mask [1, h, w] per pixel of the block: painted, or interpolated between the centres of cells."""
        if self.paint is not None:
            return block_of(self.paint, w.top, w.bottom, w.left, w.right)
        rows, columns = ((a // CELL - 1, -(-b // CELL) + 1) for a, b in ((w.top, w.bottom), (w.left, w.right)))
        last_row, last_column = self.mask.shape[-2] - 1, self.mask.shape[-1] - 1
        part = self.mask[..., torch.arange(*rows).clamp(0, last_row), :]
        part = part[..., torch.arange(*columns).clamp(0, last_column)]
        fine = F.interpolate(part, scale_factor=CELL, mode="bilinear", align_corners=False)[0]
        return fine[:, CELL : CELL + w.bottom - w.top, CELL : CELL + w.right - w.left]

    def predict(self, group: tuple[Window, ...], state: Tensor, t: int, alpha: float) -> list[Tensor]:
        """Residual of each window's block, float32 on the CPU, times the restore mask and clamped to ±1."""

        def cells(field: Tensor, w: Window) -> Tensor:
            rows = slice(w.window_top // CELL, w.window_bottom // CELL)
            return field[0, :, rows, w.window_left // CELL : w.window_right // CELL]

        count = len(group)
        inputs = [
            torch.stack([self._seen(self.picture, w) for w in group]),
            torch.stack([state[:, w.window_top : w.window_bottom, w.window_left : w.window_right] for w in group]),
            torch.full((count,), t),
            torch.full((count,), alpha),
            *(torch.stack([cells(field, w) for w in group]) for field in self.maps),
            self.statistics.expand(count, -1),
        ]
        return self._blocks(self.run, inputs, group)


def _restore_one(work: _Windows, layout: TileLayout, settings: RestoreSettings, advance: Callable[[Preview], None]) -> Tensor:
    """Residual [3, H', W'] of one picture on its padded grid."""
    scale = work.run.model.config.noise_scale
    shape = (work.height, work.width)
    steps, alphas = timesteps(settings.schedule, settings.steps), alphas_cumprod()
    state = draw_noise(shape, scale, settings.seed)
    residual = torch.zeros(3, *shape)  # every step writes the same windows again; elsewhere it stays 0
    for index, t in enumerate(steps):
        alpha, following = float(alphas[t]), previous_alpha(alphas, steps, index)
        for group in batches(layout, settings.tile_batch):
            for w, block in zip(group, work.predict(group, state, t, alpha), strict=True):
                residual[:, w.top : w.bottom, w.left : w.right] = block
            advance(lambda: preview_of(work.picture, residual, settings.strength))
        if index + 1 == len(steps):
            return residual
        fresh = draw_noise(shape, scale, settings.seed, index + 1) if settings.eta > 0 else None
        for rows in range(0, work.height, 256):  # in strips, so that no third picture-sized array is needed
            part = slice(rows, rows + 256)
            drawn = fresh[:, part] if fresh is not None else None
            state[:, part] = ddim_step(state[:, part], residual[:, part], alpha, following, settings.eta, drawn)
    raise AssertionError("a schedule has at least one step")


_DEFAULT = RestoreSettings()


def restore(
    model: Denoiser,
    picture: Tensor,
    prompt: Prompt,
    settings: RestoreSettings = _DEFAULT,
    *,
    dtype: torch.dtype | None = None,
    progress: Progress | None = None,
) -> Restored:
    """Restore ``picture`` [B, 3 or 4, H, W] in [0, 1] as ``prompt`` asks; alpha is carried through unchanged.

    Runs on the device of the model's weights, in ``dtype`` (theirs where not given), one picture at a time. The noise of
    every picture is drawn from the seed on the CPU: a frame's result does not depend on its batch. ``progress(done, total,
    preview)`` is called after every batch of windows; what it raises cancels the run. Raises ValueError for bad input
    before any work, :class:`NumericalError` if the network gives NaN.
    """
    check_inputs(picture, prompt)
    height, width = picture.shape[-2:]
    run = Runner(model, dtype)
    context = CELL * math.ceil(max(settings.overlap, model.receptive_radius) / CELL)
    tile = settings.tile // TILE * TILE
    padded = [CELL * cell_count(side) for side in (height, width)]
    wanted = prompt.restore_mask if settings.strength > 0 else torch.zeros_like(prompt.restore_mask)
    painted = prompt.painted if prompt.painted is not None and settings.strength > 0 else [None] * len(wanted)
    active = [
        active_tiles(mask[None], paint if paint is None else paint[None]) for mask, paint in zip(wanted, painted, strict=True)
    ]
    layouts = [plan(tiles, *padded, tile, context) for tiles in active]
    passes = settings.steps + (model.finish is not None)
    total = passes * sum(len(batches(layout, settings.tile_batch)) for layout in layouts)
    advance = counted(progress, total)
    result = torch.empty(picture.shape, dtype=torch.float32)
    for index, layout in enumerate(layouts):
        source = picture[index, :3].detach().to("cpu", torch.float32)
        if layout.windows:
            work = _Windows(run, source, prompt, index)
            residual = _restore_one(work, layout, settings, advance)
            restored = torch.add(source, residual[:, :height, :width], out=result[index, :3]).clamp_(0, 1)
            if model.finish is not None:
                work.finish(layout, restored, residual, settings, advance)
            torch.lerp(source, restored, settings.strength, out=restored).clamp_(0, 1)
            del residual, work
        else:
            result[index, :3] = source.clamp(0, 1)
        result[index, 3:] = picture[index, 3:]
    return Restored(result, sum(x.tiles_total for x in layouts), sum(x.tiles_run for x in layouts))
