"""Restoration with the second generation's networks: the whole picture's tone first, then the denoiser in windows and steps.

The tone is found once per picture and applied to all of it. The denoiser's residual is sampled on top of it: every diffusion
step is finished over the whole picture before the next begins, the restore mask is part of each prediction, and windows see at
least the denoiser's receptive field, so the result does not depend on how the picture is cut.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..grid import CELL, block_of, cell_count, mirrored
from ..networks.bilateral_grid import view_of
from ..networks.restorer import Restorer
from ..prompt import Prompt
from .ddim import alphas_cumprod, ddim_step, previous_alpha, timesteps
from .runner import Runner
from .settings import Progress, Restored, RestoreSettings, check_inputs, counted, draw_noise, preview_of
from .tiles import TILE, TileLayout, Window, active_tiles, batches, plan
from .tone import Tone, edge_aware, grid_gate

_ROWS = 256
"""Rows of a strip: what is done to whole pictures is done in strips, so that no further picture-sized tensor is needed."""

PAINTED = ("mask", "edited")
"""How the assessor's name of a map that an artist painted begins or ends."""


def is_painted(prompt: Prompt) -> bool:
    """Whether an artist painted the prompt's map, so that its mask is followed exactly."""
    name = prompt.quality.assessor
    return name.startswith(PAINTED[0]) or name.endswith(PAINTED[1])


class _Picture:
    """One picture's data on the padded grid of cells, and the networks that are run on it."""

    def __init__(self, model: Restorer, dtype: torch.dtype | None, picture: Tensor, prompt: Prompt, index: int):
        self.picture, self.config = picture, model.config
        self.height, self.width = (CELL * cell_count(side) for side in picture.shape[-2:])
        one = slice(index, index + 1)
        severity, kinds = prompt.severity[one], prompt.kinds[one]
        self.mask, self.damage = prompt.restore_mask[one], torch.cat((severity, kinds), 1)
        self.denoiser = Runner(model.denoiser, dtype)
        told = [prompt.statistics[one], kinds.mean((2, 3)), severity, kinds, prompt.length[one]]
        self.about, self.tokens, self.bias = Runner(model.conditioner, dtype)(told, "the whole picture's prompts")
        view = view_of(picture[None], severity, kinds) if prompt.view is None else prompt.view[one]
        grid = Runner(model.grid, dtype)([view], "the view of the whole picture") * grid_gate(kinds)
        self.tone = Tone(grid, edge_aware(picture[None], self.mask))
        self.painted = is_painted(prompt)
        self.paint = None if prompt.painted is None else prompt.painted[index]
        damage = prompt.quality.painted_severity
        self.damage_set = None if damage is None else damage[min(index, len(damage) - 1)]
        self.toned = self._toned()

    def _toned(self) -> Tensor:
        """The picture with its tone set, [3, H, W] in [0, 1]."""
        height, width = self.picture.shape[-2:]
        toned = self.picture.clone()
        x = ((torch.arange(width) + 0.5) / width)[None]
        for top in range(0, height, _ROWS):
            bottom = min(height, top + _ROWS)
            part = toned[None, :, top:bottom]
            y = ((torch.arange(top, bottom) + 0.5) / height)[None]
            mask = self._block_mask(top, bottom, 0, self.width)[None, :, :, :width] if self.painted else None
            paint = self._set_by_masks(top, bottom)
            part.add_(self.tone.change(part, y, x, mask, paint)).clamp_(0, 1)
        return toned

    def _set_by_masks(self, top: int, bottom: int) -> Tensor | None:
        """The restore mask [1, 1, h, W] of some rows where an artist has set damage through masks, 0 elsewhere; None without."""
        if self.damage_set is None:
            return None
        return (self.paint[:, top:bottom] * (self.damage_set[:, top:bottom] > 0))[None]

    def _block_mask(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        """The restore mask [1, h, w] per pixel of a block: painted, or interpolated between the centres of cells."""
        if self.paint is not None:
            return block_of(self.paint, top, bottom, left, right)
        rows, columns = ((a // CELL - 1, -(-b // CELL) + 1) for a, b in ((top, bottom), (left, right)))
        last_row, last_column = self.mask.shape[-2] - 1, self.mask.shape[-1] - 1
        part = self.mask[..., torch.arange(*rows).clamp(0, last_row), :]
        part = part[..., torch.arange(*columns).clamp(0, last_column)]
        fine = F.interpolate(part, scale_factor=CELL, mode="bilinear", align_corners=False)[0]
        return fine[:, CELL + top % CELL :][:, : bottom - top, CELL : CELL + right - left]

    def _seen(self, picture: Tensor, w: Window) -> Tensor:
        """A window of ``picture`` [3, H, W], mirrored where it reaches beyond."""
        rows = mirrored(picture.shape[-2], w.window_top, w.window_bottom)
        columns = mirrored(picture.shape[-1], w.window_left, w.window_right)
        return picture[:, rows][:, :, columns]

    def predict(self, group: tuple[Window, ...], state: Tensor, t: int, alpha: float) -> list[Tensor]:
        """The residual of each window's block, masked and clamped to ±1."""

        def cells(field: Tensor, w: Window) -> Tensor:
            rows = slice(w.window_top // CELL, w.window_bottom // CELL)
            return field[0, :, rows, w.window_left // CELL : w.window_right // CELL]

        count = len(group)
        inputs = [
            torch.stack([self._seen(self.picture, w) for w in group]),
            torch.stack([self._seen(self.toned, w) for w in group]),
            torch.stack([state[:, w.window_top : w.window_bottom, w.window_left : w.window_right] for w in group]),
            torch.full((count,), t),
            torch.full((count,), alpha),
            torch.stack([cells(self.damage, w) for w in group]),
            self.about.expand(count, -1),
            self.tokens.expand(count, -1, -1),
            torch.stack([cells(self.bias, w) for w in group]),
        ]
        found = self.denoiser(inputs, "tile " + ", ".join(f"({w.left}, {w.top})" for w in group))
        return [
            residual[:, w.top - w.window_top : w.bottom - w.window_top, w.left - w.window_left : w.right - w.window_left]
            .clamp(-1, 1)
            .mul(self._block_mask(w.top, w.bottom, w.left, w.right))
            for residual, w in zip(found, group, strict=True)
        ]


def _residual(work: _Picture, layout: TileLayout, settings: RestoreSettings, advance) -> Tensor:
    """The residual [3, H', W'] of one picture on its padded grid."""
    scale, shape = work.config.noise_scale, (work.height, work.width)
    steps, alphas = timesteps(settings.schedule, settings.steps), alphas_cumprod()
    state = draw_noise(shape, scale, settings.seed)
    residual = torch.zeros(3, *shape)
    for index, t in enumerate(steps):
        alpha, following = float(alphas[t]), previous_alpha(alphas, steps, index)
        for group in batches(layout, settings.tile_batch):
            for w, block in zip(group, work.predict(group, state, t, alpha), strict=True):
                residual[:, w.top : w.bottom, w.left : w.right] = block
            advance(lambda: preview_of(work.toned, residual, settings.strength))
        if index + 1 < len(steps):
            fresh = draw_noise(shape, scale, settings.seed, index + 1) if settings.eta > 0 else None
            for top in range(0, work.height, _ROWS):
                rows = slice(top, top + _ROWS)
                drawn = fresh[:, rows] if fresh is not None else None
                state[:, rows] = ddim_step(state[:, rows], residual[:, rows], alpha, following, settings.eta, drawn)
    return residual


_DEFAULT = RestoreSettings()


def restore_toned(
    model: Restorer,
    picture: Tensor,
    prompt: Prompt,
    settings: RestoreSettings = _DEFAULT,
    *,
    dtype: torch.dtype | None = None,
    progress: Progress | None = None,
) -> Restored:
    """Restore ``picture`` [B, 3 or 4, H, W] in [0, 1] as ``prompt`` asks; alpha is carried through unchanged.

    The prompt must name the kinds of damage. Arguments, determinism and errors are those of :func:`restore.restore`.
    """
    check_inputs(picture, prompt)
    if prompt.kinds is None:
        raise ValueError(
            "prompt: its quality map names no kinds of damage, which this model needs; use the bundled assessor's map, or say "
            "the kinds (set_damage, the node Set Damage, --assume)"
        )
    height, width = picture.shape[-2:]
    context = CELL * math.ceil(max(settings.overlap, model.denoiser.receptive_radius) / CELL)
    tile, padded = settings.tile // TILE * TILE, [CELL * cell_count(side) for side in (height, width)]
    wanted = prompt.restore_mask if settings.strength > 0 else torch.zeros_like(prompt.restore_mask)
    painted = prompt.painted if prompt.painted is not None and settings.strength > 0 else [None] * len(wanted)
    active = [
        active_tiles(mask[None], paint if paint is None else paint[None]) for mask, paint in zip(wanted, painted, strict=True)
    ]
    layouts = [plan(tiles, *padded, tile, context) for tiles in active]
    advance = counted(progress, settings.steps * sum(len(batches(layout, settings.tile_batch)) for layout in layouts))
    result = torch.empty(picture.shape, dtype=torch.float32)
    for index, layout in enumerate(layouts):
        source = picture[index, :3].detach().to("cpu", torch.float32).clamp(0, 1)
        result[index, :3] = source
        if layout.windows:
            work = _Picture(model, dtype, source, prompt, index)
            residual = _residual(work, layout, settings, advance)
            restored = torch.add(work.toned, residual[:, :height, :width], out=result[index, :3]).clamp_(0, 1)
            torch.lerp(source, restored, settings.strength, out=restored).clamp_(0, 1)
            del residual, work
        result[index, 3:] = picture[index, 3:]
    return Restored(result, sum(x.tiles_total for x in layouts), sum(x.tiles_run for x in layouts))
