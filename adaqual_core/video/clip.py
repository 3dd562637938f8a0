"""This module restores one frame of a clip: it judges the frame, averages with the frames before it, and restores it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn as nn
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..prompt import Prompt, PromptSettings, build_prompt
from ..quality.map import QualityMap
from ..quality.set_damage import assume
from ..sampling.restore import restore
from ..sampling.settings import Progress, Restored, RestoreSettings
from .memory import Memory, check_temporal, steady_map, steady_prompt
from .names import TEMPORAL


@dataclass(frozen=True)
class Chain:
    """This class says how every frame of a clip is restored.

    ``judge`` gives the quality map of a picture [1, 3 or 4, H, W]. The sampler's noise comes from the settings' seed and is the
    same for every frame. ``temporal``: frames of the window (:mod:`adaqual_core.video.memory`), 0 for every frame by itself.
    ``assumed``: severities by kind of damage that every frame has at least, whatever is judged; in the region of
    ``assumed_mask`` [1, h, w] in [0, 1] only, where there is one.
    """

    model: nn.Module
    judge: Callable[[Tensor], QualityMap]
    prompts: PromptSettings
    settings: RestoreSettings
    temporal: int = TEMPORAL
    assumed: Mapping[str, float] = field(default_factory=dict)
    assumed_mask: Tensor | None = None

    def __post_init__(self):
        check_temporal(self.temporal)


@dataclass(frozen=True)
class Shot:
    """This class holds what is remembered of a shot's earlier frames: one memory for their maps, and one for their prompts."""

    maps: Memory | None = None
    prompts: Memory | None = None


def write_shot(shot: Shot, path: Path) -> None:
    """Write what is remembered of a shot into a safetensors file."""
    found: dict[str, Tensor] = {}
    for name, memory in (("maps", shot.maps), ("prompts", shot.prompts)):
        if memory is not None:
            found[f"{name} thumbnail"] = memory.thumbnail
            for number, parts in enumerate(memory.frames):
                found |= {f"{name} {number} {part}": tensor for part, tensor in enumerate(parts)}
    save_file({key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in found.items()}, path)


def read_shot(path: Path) -> Shot:
    """Return the shot that :func:`write_shot` wrote into a file."""
    found = load_file(path)

    def memory(name: str) -> Memory | None:
        if f"{name} thumbnail" not in found:
            return None
        frames: list[tuple[Tensor, ...]] = []
        while f"{name} {len(frames)} 0" in found:
            parts = range(sum(key.startswith(f"{name} {len(frames)} ") for key in found))
            frames.append(tuple(found[f"{name} {len(frames)} {part}"] for part in parts))
        return Memory(found[f"{name} thumbnail"], tuple(frames))

    return Shot(memory("maps"), memory("prompts"))


def look(chain: Chain, shot: Shot, picture: Tensor) -> tuple[QualityMap, Prompt, Shot]:
    """Return the quality map of the next frame [1, 3 or 4, H, W] in [0, 1] without what is assumed, its prompt, and the shot with
    which the frame after it is judged."""
    judged, maps = steady_map(shot.maps, picture, chain.judge(picture), chain.temporal)
    quality = assume(judged, chain.assumed, chain.assumed_mask)
    prompt, prompts = steady_prompt(shot.prompts, picture, build_prompt(picture, quality, chain.prompts), chain.temporal)
    return judged, prompt, Shot(maps, prompts)


def restore_frame(
    chain: Chain, shot: Shot, picture: Tensor, progress: Progress | None = None
) -> tuple[Restored, QualityMap, Shot]:
    """Restore the next frame [1, 3 or 4, H, W] in [0, 1]; return the result, the quality map without what is assumed, and the
    shot for the frame after it.

    Raises and reports as :func:`adaqual_core.sampling.restore.restore` does.
    """
    judged, prompt, shot = look(chain, shot, picture)
    return restore(chain.model, picture, prompt, chain.settings, progress=progress), judged, shot
