"""This module restores clips for ``adaqual restore``. No other command needs PyAV for its work."""

import argparse
from functools import partial

import torch.nn as nn

from ..errors import PictureError
from ..networks.shipped import SHIPPED_DENOISER
from ..prompt import PromptSettings
from ..quality.assess import Assessor, assess, cache_folder
from ..quality.bundled import SHIPPED_ASSESSOR
from ..quality.cache import ScoreCache
from ..sampling.settings import RestoreSettings
from ..video.clip import Chain
from ..video.names import TEMPORAL
from .jobs import ClipJob


def check_clip(job: ClipJob) -> None:
    """Raise :class:`PictureError` unless PyAV is installed, the clip can be read and its target can be written and hold it."""
    try:
        from ..video.container import check_target, read_clip
    except ImportError as missing:
        raise PictureError(
            f"{job.source}: clips need PyAV 18 or newer ({missing}); install it with pip install 'adaqual[video]'"
        ) from None
    check_target(read_clip(job.source), job.target)


def restore_clip(
    job: ClipJob,
    model: nn.Module,
    assessor: Assessor,
    prompts: PromptSettings,
    settings: RestoreSettings,
    args: argparse.Namespace,
) -> dict:
    """Restore a clip that :func:`check_clip` has passed, and return what was done as numbers by name."""
    from ..video.command import restore_clip_file

    judge = partial(assess, assessor, cache=ScoreCache(cache_folder()))
    temporal = TEMPORAL if args.temporal is None else args.temporal
    chain = Chain(model, judge, prompts, settings, temporal, args.assumed)
    models = [args.model or SHIPPED_DENOISER, args.mode, args.assessor or SHIPPED_ASSESSOR, args.assessor_bits]
    return restore_clip_file(chain, job.source, job.target, models)
