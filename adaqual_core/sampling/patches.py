"""This module estimates a whole picture from many overlapping patches (Özdenizci & Legenstein 2023).

At every step the noise that the network finds in overlapping patches is averaged where they overlap, and the whole
picture takes one DDIM step. Beyond the published sampler, borders are always covered, and patches without a pixel to
restore are never run. No function here keeps more than one batch of patches besides arrays of the picture's size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..grid import mirrored
from ..networks.family import Told
from ..networks.runner import Runner
from ..prompt import Prompt
from .ddim import Estimate, alphas_cumprod
from .settings import RestoreSettings


def corners(height: int, width: int, patch: int, stride: int) -> list[tuple[int, int]]:
    """Return the top left corners (y, x) of patches every ``stride`` px, row by row, with more at the far borders where needed.

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
    """Return the corners of ``grid`` whose patches are needed to restore by ``mask`` [H, W] in [0, 1] (our definition).

    A patch is needed if the mask is at least 0.5 at half of its pixels or more. Other patches are then taken, most of such pixels
    first, until ``ENOUGH`` patches cover each of these pixels, or all that there are. Pixels of the mask's faded edge take what
    these patches find; where none covers them, the patches that hold them are needed too. So every pixel above 0 is covered, and
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


@dataclass(frozen=True)
class PatchPlan:
    """This class says which patches of a picture are run.

    ``corners``: (y, x) of their top left corners; ``patch``: their side in px; ``batch``: how many are run at once. ``shape``:
    height and width in px of the sampler's state, at least a patch. Patches are counted as the plan's tiles.
    """

    corners: tuple[tuple[int, int], ...]
    patch: int
    batch: int
    shape: tuple[int, int]
    tiles_total: int

    @property
    def tiles_run(self) -> int:
        """Return the number of patches that are run."""
        return len(self.corners)

    @property
    def runs(self) -> int:
        """Return how often the network is run in a step."""
        return -(-len(self.corners) // self.batch)

    def predictor(self, run: Runner, told: Told, prompt: Prompt, advance: Callable[[Tensor], None]) -> "Averaged":
        """Return the function that estimates the picture for :func:`ddim.ddim`."""
        return Averaged(self, run, told, _mask(prompt, self.patch), advance)


def _mask(prompt: Prompt, patch: int) -> Tensor:
    """Return the restore mask [H', W'] per pixel of one picture, extended to at least a patch."""
    return extended(prompt.pixel_mask(0), patch)


def averaged_patches(run: Runner, settings: RestoreSettings, prompt: Prompt) -> PatchPlan:
    """Return the plan of patches every ``settings.stride`` px, without those that one picture's prompt does not need."""
    patch = run.model.config.patch
    pixels = _mask(prompt, patch)
    height, width = pixels.shape
    grid = corners(height, width, patch, settings.stride)
    return PatchPlan(tuple(active_corners(grid, patch, pixels)), patch, settings.patch_batch, (height, width), len(grid))


def extended(field: Tensor, patch: int) -> Tensor:
    """Return a field [..., H, W] extended by reflection to at least ``patch`` px on both sides."""
    rows, columns = (mirrored(side, 0, max(side, patch)) for side in field.shape[-2:])
    return field[..., rows, :][..., columns]


class Averaged:
    """This class estimates one picture from the mean noise that the network finds in overlapping patches.

    ``mask`` [H', W'] in [0, 1] is how much of the change each pixel takes: every estimate x0 becomes picture + mask·(x0 −
    picture). A mask of ones restores exactly as published. ``advance(x0)`` is called after each run of the network with the
    estimate of the step before, at first with the picture.
    """

    def __init__(self, plan: PatchPlan, run: Runner, told: Told, mask: Tensor, advance: Callable[[Tensor], None]):
        self.plan, self.run, self.advance = plan, run, advance
        self.alphas, self.condition = alphas_cumprod(), extended(told.base, plan.patch) * 2 - 1
        self.mask = None if bool((mask == 1).all()) else mask
        self.x0 = self.condition
        self.coverage = torch.zeros(plan.shape)
        for y, x in plan.corners:
            self.coverage[y : y + plan.patch, x : x + plan.patch] += 1
        self.coverage.clamp_(min=1)

    def __call__(self, state: Tensor, t: int) -> Estimate:
        """Return the estimate in about [−1, 1] for ``state`` [3, H', W'] at timestep ``t``."""
        plan, alpha = self.plan, float(self.alphas[t])
        noise = torch.zeros_like(state)
        for first in range(0, len(plan.corners), plan.batch):
            group = plan.corners[first : first + plan.batch]
            parts = [(slice(None), slice(y, y + plan.patch), slice(x, x + plan.patch)) for y, x in group]
            patches = torch.stack([torch.cat((self.condition[part], state[part])) for part in parts])
            found = self.run({"patches": patches, "timestep": torch.tensor([t])}, f"timestep {t}")
            for part, one in zip(parts, found, strict=True):
                noise[part] += one
            self.advance(self.x0)
        noise /= self.coverage
        x0 = noise.mul_(-((1 - alpha) ** 0.5)).add_(state).div_(alpha**0.5)
        self.x0 = x0 if self.mask is None else self.condition + self.mask * (x0 - self.condition)
        return Estimate(self.x0)
