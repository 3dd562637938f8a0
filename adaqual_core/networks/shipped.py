"""The restorers that come with the pack, and the loaders of our own restorers' files."""

from pathlib import Path

import torch.nn as nn

from ..errors import CheckpointError
from ..quality.bundled import SHIPPED_ASSESSOR as SHIPPED_ASSESSOR
from ..weight_files import WEIGHTS, build, read
from .denoiser import Denoiser, DenoiserConfig
from .finish import Finish, FinishConfig
from .restorer import Restorer, RestorerConfig

SHIPPED_DENOISER = WEIGHTS / "adaqual_nano.safetensors"
SHIPPED_FINISH = WEIGHTS / "adaqual_finish.safetensors"


def load_denoiser(path: Path = SHIPPED_DENOISER, operations=nn) -> Denoiser:
    """The denoiser stored in ``path``, float32 on the CPU, in evaluation mode; raises :class:`CheckpointError`."""
    return build(path, *read(path, "denoiser"), Denoiser, DenoiserConfig, operations)


def load_second(path: Path, operations=nn) -> Restorer:
    """The second generation's restorer stored in ``path``, float32 on the CPU, in evaluation mode; raises
    :class:`CheckpointError`."""
    return build(path, *read(path, Restorer.file_kind), Restorer, RestorerConfig, operations)


def load_shipped(operations=nn) -> Denoiser:
    """The restorer that comes with the pack, with the finish of its results; as :func:`load_denoiser`."""
    if not SHIPPED_FINISH.is_file():
        raise CheckpointError(f"{SHIPPED_FINISH}: missing, but it comes with the pack; install ComfyUI-AdaQual again")
    model = load_denoiser(SHIPPED_DENOISER, operations)
    model.finish = load_finish(SHIPPED_FINISH, operations)
    return model


def load_finish(path: Path, operations=nn) -> Finish:
    """The finish stored in ``path``, float32 on the CPU, in evaluation mode; raises :class:`CheckpointError`."""
    return build(path, *read(path, "finish"), Finish, FinishConfig, operations)
