"""This module restores clips for ``adaqual restore``. No other command needs PyAV for its work."""

import argparse

from torch import Tensor

from ..errors import PictureError
from ..networks.shipped import SHIPPED_RESTORER
from ..quality.assess import assess, cache_folder
from ..quality.bundled import SHIPPED_ASSESSOR
from ..quality.cache import ScoreCache
from ..quality.map import QualityMap
from ..quality.naming import with_kinds
from ..video.clip import Chain
from ..video.names import TEMPORAL
from .chain import peak_rss_mb
from .jobs import ClipJob
from .work import Outcome, Work


def check_clip(job: ClipJob) -> None:
    """Raise :class:`PictureError` unless PyAV is installed, the clip can be read and its target can be written and hold it."""
    try:
        from ..video.container import read_clip
        from ..video.encoding import check_target
    except ImportError as missing:
        raise PictureError(
            f"{job.source}: clips need PyAV 18 or newer ({missing}); install it with pip install 'adaqual[video]'"
        ) from None
    check_target(read_clip(job.source), job.target)


def chain_of(work: Work, args: argparse.Namespace) -> Chain:
    """Return how every frame of a clip is restored."""
    cache = ScoreCache(cache_folder())

    def judge(picture: Tensor) -> QualityMap:
        return with_kinds(assess(work.models.assessor, picture, cache=cache), picture, work.models.namer)

    temporal = TEMPORAL if args.temporal is None else args.temporal
    return Chain(work.models.restorer, judge, work.prompts, work.settings, temporal, work.assumed, work.mask)


def decisive_files(work: Work, args: argparse.Namespace) -> list[object]:
    """Return what decides the result beside settings and clip: the files of models and mask, and how they are read."""
    decisive = [args.model or SHIPPED_RESTORER, args.mode, args.assessor or SHIPPED_ASSESSOR, args.assessor_bits]
    decisive += [] if work.mask is None else [args.assume_mask]
    return decisive + ([] if work.models.namer is None else [SHIPPED_ASSESSOR])


def restore_clip(work: Work, job: ClipJob, args: argparse.Namespace) -> Outcome:
    """Restore a checked clip on this machine."""
    from ..video.command import restore_clip_file

    report = restore_clip_file(chain_of(work, args), job.source, job.target, decisive_files(work, args))
    return Outcome(report, peak_rss_mb=peak_rss_mb(), steps=work.settings.steps)
