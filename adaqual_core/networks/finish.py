"""This module is what a result of the first generation goes through last: its detail, then the whole picture's tone (our
definition).

Both look at the picture and at what the sampler made of it, neither at what the other does. They are trained on what the
shipped denoiser leaves, and their weights lie in a file of their own.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.nn as nn

from ..errors import CheckpointError
from ..weight_files import WEIGHTS, build, read
from .detail import Detail
from .tone_grid import ToneGrid

SHIPPED_FINISH = WEIGHTS / "adaqual_finish.safetensors"


@dataclass(frozen=True)
class FinishConfig:
    """This class holds the sizes of :class:`tone_grid.ToneGrid` and :class:`detail.Detail`."""

    grid_widths: tuple[int, int, int] = (32, 64, 96)
    grid_blocks: int = 2
    levels: int = 8
    detail_widths: tuple[int, int] = (40, 80)
    detail_blocks: tuple[int, int, int] = (2, 3, 2)


class Finish(nn.Module):
    """This module holds the two networks, each to be called by itself; untrained they change nothing."""

    file_kind = "finish"

    def __init__(self, config: FinishConfig = FinishConfig(), operations=nn):
        super().__init__()
        self.config = config
        self.grid = ToneGrid(config.grid_widths, config.grid_blocks, config.levels, operations)
        self.detail = Detail(config.detail_widths, config.detail_blocks, operations)
        for last in (self.grid.head, self.detail.ending):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)


def load_finish(path: Path | None = None, operations: Any = nn) -> Finish:
    """Return the finish stored in ``path`` (by default the shipped one), float32 on the CPU, in evaluation mode.

    Raises :class:`CheckpointError`.
    """
    path = path or SHIPPED_FINISH
    if path == SHIPPED_FINISH and not path.is_file():
        raise CheckpointError(f"{path}: missing, but it comes with the pack; install ComfyUI-AdaQual again")
    return build(path, *read(path, Finish.file_kind), Finish, FinishConfig, operations)
