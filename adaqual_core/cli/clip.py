"""This module restores clips for ``adaqual restore``. No other command needs PyAV for its work."""

import argparse

from torch import Tensor

from ..errors import PictureError
from ..networks.shipped import SHIPPED_DENOISER
from ..prompt import PromptSettings
from ..quality.assess import assess, cache_folder
from ..quality.bundled import SHIPPED_ASSESSOR
from ..quality.cache import ScoreCache
from ..quality.map import QualityMap
from ..quality.naming import with_kinds
from ..sampling.settings import RestoreSettings
from ..video.clip import Chain
from ..video.names import TEMPORAL
from .chain import Models
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
    models: Models,
    prompts: PromptSettings,
    settings: RestoreSettings,
    mask: Tensor | None,
    args: argparse.Namespace,
) -> dict:
    """Restore a clip that :func:`check_clip` has passed, and return what was done as numbers by name.

    ``mask`` [1, h, w] in [0, 1] is the region of what is assumed, None for the whole picture.
    """
    from ..video.command import restore_clip_file

    cache = ScoreCache(cache_folder())

    def judge(picture: Tensor) -> QualityMap:
        return with_kinds(assess(models.assessor, picture, cache=cache), picture, models.namer)

    temporal = TEMPORAL if args.temporal is None else args.temporal
    chain = Chain(models.restorer, judge, prompts, settings, temporal, args.assumed, mask)
    decisive = [args.model or SHIPPED_DENOISER, args.mode, args.assessor or SHIPPED_ASSESSOR, args.assessor_bits]
    decisive += [] if mask is None else [args.assume_mask]
    decisive += [] if models.namer is None else [SHIPPED_ASSESSOR]
    return restore_clip_file(chain, job.source, job.target, decisive)
