"""Patch-based diffusion restoration: one noise estimate from many overlapping patches (Özdenizci & Legenstein 2023).

At every step the noise that the network finds in overlapping patches is averaged where they overlap, and the whole
picture takes one DDIM step. Beyond the published sampler, borders are always covered, and patches without a pixel to
restore are never run. No function here keeps more than one batch of patches besides arrays of the picture's size.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..grid import mirrored
from ..networks.weather_diffusion import WeatherNet
from ..prompt import Prompt
from .ddim import alphas_cumprod, ddim_step, previous_alpha, timesteps
from .runner import Runner
from .settings import Preview, Progress, Restored, RestoreSettings, check_inputs, counted, draw_noise

PUBLISHED = RestoreSettings(steps=25, schedule="official")
"""What the authors sample with."""


def corners(height: int, width: int, patch: int, stride: int) -> list[tuple[int, int]]:
    """Top left corners (y, x) of patches every ``stride`` px, row by row; more at the far borders where needed.

    Every pixel is covered. ``patch`` must fit into the picture and ``stride`` must not exceed it.
    """
    if not 1 <= stride <= patch:
        raise ValueError(f"stride: {stride}; give 1 to the patch's {patch} px (16 is what the authors use)")
    if patch > min(height, width):
        raise ValueError(f"patch: {patch} px does not fit into {height}×{width}; extend the picture first")
    ys, xs = (list(range(0, side - patch + 1, stride)) for side in (height, width))
    ys += [height - patch] if ys[-1] < height - patch else []
    xs += [width - patch] if xs[-1] < width - patch else []
    return [(y, x) for y in ys for x in xs]


ENOUGH = 4
"""Patches that are averaged at least where damage ends, or all that there are; the published grid has 1 to 16."""


def active_corners(grid: Sequence[tuple[int, int]], patch: int, mask: Tensor) -> list[tuple[int, int]]:
    """Those corners of ``grid`` whose patches are needed to restore by ``mask`` [H, W].

    Needed are patches that are at least half to be restored, by pixels of at least 0.5 (our definition); others with such
    pixels only as far as these would be seen by fewer than ``ENOUGH``. Pixels of the mask's faded edge take what these
    patches find; where none covers them, the patches that hold them are needed too. So every pixel above 0 is covered, and
    where everything is damaged no patch is left out.
    """
    core, seen = mask >= 0.5, torch.zeros(mask.shape, dtype=torch.int32)
    needed = set()

    def part(field: Tensor, corner: tuple[int, int]) -> Tensor:
        y, x = corner
        return field[y : y + patch, x : x + patch]

    def need(corner: tuple[int, int]) -> None:
        needed.add(corner)
        part(seen, corner).add_(1)

    shares = {corner: float(part(core, corner).float().mean()) for corner in grid}
    for corner in sorted(grid, key=lambda corner: -shares[corner]):  # those of equal share in the grid's order
        if shares[corner] >= 0.5 or bool((part(core, corner) & (part(seen, corner) < ENOUGH)).any()):
            need(corner)
    bare = (mask > 0) & (seen == 0)
    return [corner for corner in grid if corner in needed or bool(part(bare, corner).any())]


def sample_patches(
    predict: Callable[[Tensor, int], Tensor],
    picture: Tensor,
    noise: Tensor,
    steps: Sequence[int],
    *,
    grid: Sequence[tuple[int, int]],
    patch: int,
    batch: int = 16,
    mask: Tensor | None = None,
    eta: float = 0.0,
    fresh_noise: Callable[[int], Tensor] | None = None,
    callback: Callable[[int, Tensor], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """The restored picture [3, H, W] in about [−1, 1], by DDIM from ``noise`` [3, H, W] along ``steps`` (descending).

    ``picture`` [3, H, W] in [0, 1]; ``grid``: :func:`corners` (y, x) of its patches. ``predict(patches, t)`` returns
    the noise [n, 3, p, p] of n ≤ ``batch`` patches [n, 6, p, p]: the picture as 2x − 1 and the state. ``mask`` [H, W]
    in [0, 1] is how much of the change each pixel takes: every estimate x0 becomes picture + mask·(x0 − picture), and
    only :func:`active_corners` are run; None restores everything, exactly as published. ``fresh_noise(index)`` [3, H, W]
    is asked for after a step where ``eta`` > 0. ``callback(index, x0)`` sees each step's estimate, ``progress(done,
    total)`` each batch; an exception in either cancels.
    """
    if picture.shape != noise.shape or picture.ndim != 3:
        raise ValueError(f"noise: shape {tuple(noise.shape)}, picture: {tuple(picture.shape)}; give [3, H, W] of both")
    if mask is not None and mask.shape != picture.shape[1:]:
        raise ValueError(f"mask: shape {tuple(mask.shape)} for a picture {tuple(picture.shape)}; give [H, W]")
    if batch < 1:
        raise ValueError(f"batch: {batch}; give at least 1 patch")
    grid = grid if mask is None else active_corners(grid, patch, mask)
    groups = [grid[i : i + batch] for i in range(0, len(grid), batch)]
    coverage = torch.zeros(picture.shape[1:], device=picture.device)
    for y, x in grid:
        coverage[y : y + patch, x : x + patch] += 1
    coverage.clamp_(min=1)
    condition, state, alphas, done = picture * 2 - 1, noise, alphas_cumprod(), 0
    for index, t in enumerate(steps):
        alpha = float(alphas[t])
        found = torch.zeros_like(picture)
        for group in groups:
            cut = [
                torch.cat((condition[:, y : y + patch, x : x + patch], state[:, y : y + patch, x : x + patch])) for y, x in group
            ]
            for (y, x), part in zip(group, predict(torch.stack(cut), t), strict=True):
                found[:, y : y + patch, x : x + patch] += part
            done += 1
            if progress is not None:
                progress(done, len(groups) * len(steps))
        found /= coverage
        x0 = found.mul_(-((1 - alpha) ** 0.5)).add_(state).div_(alpha**0.5)
        if mask is not None:
            x0 = condition + mask * (x0 - condition)
        if callback is not None:
            callback(index, x0)
        fresh = fresh_noise(index) if eta > 0 and fresh_noise is not None else None
        state = ddim_step(state, x0, alpha, previous_alpha(alphas, steps, index), eta, fresh)
    return state


def _extended(field: Tensor, height: int, width: int) -> Tensor:
    """[..., H, W] continued by reflection to at least ``height`` × ``width``."""
    rows, columns = (mirrored(field.shape[i], 0, max(field.shape[i], n)) for i, n in ((-2, height), (-1, width)))
    return field[..., rows, :][..., columns]


def _restore_one(
    run: Runner,
    source: Tensor,
    mask: Tensor,
    grid: Sequence[tuple[int, int]],
    patch: int,
    settings: RestoreSettings,
    advance: Callable[[Preview], None],
) -> Tensor:
    """One picture [3, H, W], restored; ``mask`` and ``grid`` are of the picture extended to at least a patch."""
    height, width = source.shape[-2:]
    changed, every = mask[:height, :width] > 0, -(-max(height, width) // 512)
    extended = _extended(source, patch, patch)
    shape = (extended.shape[-2], extended.shape[-1])
    estimate = extended * 2 - 1

    def finished(state: Tensor, stride: int = 1) -> Tensor:
        before = source[:, ::stride, ::stride]
        change = (state[:, :height:stride, :width:stride] + 1) / 2 - before
        return torch.where(changed[::stride, ::stride], (before + settings.strength * change).clamp(0, 1), before)

    def see(index: int, x0: Tensor) -> None:
        nonlocal estimate
        estimate = x0

    with torch.inference_mode():
        state = sample_patches(
            lambda patches, t: run([patches, torch.tensor([t])], f"timestep {t}"),
            extended, draw_noise(shape, 1.0, settings.seed), timesteps(settings.schedule, settings.steps), grid=grid,
            patch=patch, batch=settings.patch_batch, mask=None if bool((mask == 1).all()) else mask, eta=settings.eta,
            fresh_noise=lambda index: draw_noise(shape, 1.0, settings.seed, index + 1), callback=see,
            progress=lambda done, total: advance(lambda: finished(estimate, every)),
        )  # fmt: skip
        return finished(state)


def restore_patches(
    model: WeatherNet,
    picture: Tensor,
    prompt: Prompt,
    settings: RestoreSettings = PUBLISHED,
    *,
    dtype: torch.dtype | None = None,
    progress: Progress | None = None,
) -> Restored:
    """Restore ``picture`` [B, 3 or 4, H, W] in [0, 1] where ``prompt`` asks for it, as :func:`restore.restore` does.

    Only the prompt's restore mask is used; where it is 0 pixels return unchanged. Patches of the model's size lie
    every ``stride`` px and are run ``patch_batch`` at a time; ``tile`` and ``overlap`` are not heeded. The result counts
    patches as its tiles.
    """
    check_inputs(picture, prompt)
    batch, _, height, width = picture.shape
    patch, run = model.config.patch, Runner(model, dtype)
    masks = [_extended(prompt.pixel_mask(index), patch, patch) for index in range(len(picture))]
    grid = corners(*masks[0].shape, patch, settings.stride)
    counts = [len(active_corners(grid, patch, mask)) if settings.strength > 0 else 0 for mask in masks]
    total = settings.steps * sum(-(-count // settings.patch_batch) for count in counts)
    result = torch.empty(picture.shape, dtype=torch.float32)
    advance = counted(progress, total)
    for index, mask in enumerate(masks):
        source = picture[index, :3].detach().to("cpu", torch.float32).clamp(0, 1)
        needed = counts[index] > 0
        result[index, :3] = _restore_one(run, source, mask, grid, patch, settings, advance) if needed else source
        result[index, 3:] = picture[index, 3:]
    return Restored(result, batch * len(grid), sum(counts))
