"""The weights that come with the pack, and the loaders of our own networks."""

from pathlib import Path

import torch.nn as nn

from ..errors import CheckpointError
from ..quality.bundled import AssessorConfig, AssessorNet
from ..quality.estimator import EstimatorConfig, QualityEstimator
from ..weight_files import build, kind_in, read
from .denoiser import Denoiser, DenoiserConfig
from .finish import Finish, FinishConfig
from .restorer import Restorer, RestorerConfig

WEIGHTS = Path(__file__).parents[1] / "weights"
SHIPPED_DENOISER = WEIGHTS / "adaqual_nano.safetensors"
SHIPPED_ASSESSOR = WEIGHTS / "adaqual_assessor.safetensors"
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


def load_assessor(path: Path = SHIPPED_ASSESSOR, operations=nn) -> AssessorNet | QualityEstimator:
    """The embedded assessor stored in ``path``, float32 on the CPU, in evaluation mode; raises :class:`CheckpointError`."""
    if kind_in(path) == QualityEstimator.file_kind:
        return build(path, *read(path, QualityEstimator.file_kind), QualityEstimator, EstimatorConfig, operations)
    return build(path, *read(path, "assessor"), AssessorNet, AssessorConfig, operations)
