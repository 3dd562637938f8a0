"""This module holds the sampler's settings, result and noise, and checks its inputs."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch import Tensor

from ..checks import check_numbers, check_picture
from ..grid import cell_count
from ..networks.registry import family_of
from ..prompt import Prompt
from .ddim import SCHEDULES
from .tiles import TILE

Preview = Callable[[], Tensor]
Progress = Callable[[int, int, Preview], None]


@dataclass(frozen=True)
class RestoreSettings:
    """This class says how to sample. :func:`settings_for` returns the settings that a model is made for.

    ``steps``: number of diffusion steps, 1 to 1000. ``seed``: seed of the noise, 0 to 2^64 − 1. ``schedule``: one of SCHEDULES.
    ``eta`` in [0, 1]: part of the noise that is drawn anew in each step. ``strength`` in [0, 1]: 0 returns the input, 1 the whole
    restoration. ``tile``: side in px of a tile beside its context, at least 64. ``overlap``: px of context around a block; a
    network whose receptive field is larger sees that much. ``tile_batch``: number of such tiles with their context that there is
    memory for; windows of any shape, and windows that are run at once, have at most as many px.
    Networks that work in patches take one every ``stride`` px and run ``patch_batch`` of them at once, and do not use ``tile``,
    ``overlap`` and ``tile_batch``. ValueError is raised for values outside these ranges.
    """

    steps: int = 2
    seed: int = 0
    schedule: str = "trailing"
    eta: float = 0.0
    strength: float = 1.0
    tile: int = 512
    overlap: int = 64
    tile_batch: int = 2
    stride: int = 16
    patch_batch: int = 16

    def __post_init__(self):
        check_numbers(self)
        if not 1 <= self.steps <= 1000:
            raise ValueError(f"steps: {self.steps}; give 1 to 1000 (2 is what the models are trained for)")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed: {self.seed}; give a whole number from 0 to 2^64 − 1")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule: '{self.schedule}'; choose {' or '.join(SCHEDULES)}")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta: {self.eta}; give 0 (deterministic) to 1")
        if not 0 <= self.strength <= 1:
            raise ValueError(f"strength: {self.strength}; give 0 (the input) to 1 (fully restored)")
        if self.tile < TILE:
            raise ValueError(f"tile: {self.tile}; give at least {TILE} px (512 suits most machines)")
        if not 0 <= self.overlap < 2**31:
            raise ValueError(f"overlap: {self.overlap}; give 0 to 2^31 − 1 px")
        if self.tile_batch < 1:
            raise ValueError(f"tile_batch: {self.tile_batch}; give at least 1")
        if self.stride < 1:
            raise ValueError(f"stride: {self.stride}; give at least 1 px (16 is what WeatherDiffusion's authors use)")
        if self.patch_batch < 1:
            raise ValueError(f"patch_batch: {self.patch_batch}; give at least 1")


@dataclass(frozen=True)
class Restored:
    """This class holds restored pictures [B, 3 or 4, H, W] in [0, 1] on the CPU, and how many 64 px tiles there are and how many
    were run. For networks that work in patches, patches are counted instead.
    """

    picture: Tensor
    tiles_total: int
    tiles_run: int


def settings_for(model: nn.Module, **given) -> RestoreSettings:
    """Return the settings that ``model`` is made for, changed by those ``given`` that are not None. Raises ValueError for
    impossible ones.
    """
    family = family_of(model)
    wanted = {name: value for name, value in given.items() if value is not None}
    return RestoreSettings(**{"steps": family.steps, "schedule": family.schedule, **wanted})


def working_memory(model: nn.Module, settings: RestoreSettings, height: int, width: int) -> float:
    """Return the bytes of work beside the weights for one picture. The numbers per px are measured (at the published widths)."""
    return family_of(model).memory(model, settings, height, width)


def small(picture: Tensor) -> Tensor:
    """Return every n-th row and column of a picture [3, H, W], with the smallest n that leaves at most 512 of each."""
    stride = math.ceil(max(picture.shape[-2:]) / 512)
    return picture[:, ::stride, ::stride]


def draw_noise(shape: tuple[int, int], scale: float, seed: int, index: int = 0) -> Tensor:
    """Return noise [3, *shape] for the start (``index`` 0) or after a step, the same wherever the network runs.

    torch's generator heeds 32 bits of a seed: the upper ones are folded in, and the steps' seeds lie far apart, so that
    neighbouring seeds share no noise.
    """
    generator = torch.Generator().manual_seed((seed + (seed >> 32) * 0x85EBCA6B + index * 0x9E3779B1) % 2**32)
    return torch.randn((3, *shape), generator=generator).mul_(scale)


def counted(progress: Progress | None, total: int) -> Callable[[Preview], None]:
    """Return a function to call with a preview after each of ``total`` parts of the work; it tells ``progress`` how many are
    done.
    """
    done = itertools.count(1)

    def advance(preview: Preview) -> None:
        if progress is not None:
            progress(next(done), total, preview)

    return advance


def check_inputs(picture: Tensor, prompt: Prompt, needs_kinds: bool) -> None:
    """Raise ValueError unless ``picture`` is a picture (:func:`checks.check_picture`) and ``prompt`` was built from it.

    ``needs_kinds``: the prompt must also name the kinds of damage.
    """
    check_picture(picture)
    batch, _, height, width = picture.shape
    made, size = tuple(prompt.severity.shape), (prompt.quality.height, prompt.quality.width)
    if made != (batch, 1, cell_count(height), cell_count(width)) or size != (height, width):
        raise ValueError(
            f"prompt: made for {made[0]} pictures of {size[0]}×{size[1]}, not for {batch} of {height}×{width} (height×width); "
            "build it from this picture"
        )
    if needs_kinds and prompt.kinds is None:
        raise ValueError(
            "prompt: its quality map names no kinds of damage, which this model needs; use the bundled assessor's map, or say "
            "the kinds (set_damage, the node Set Damage, --assume)"
        )
