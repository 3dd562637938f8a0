"""``adaqual restore`` of a clip; PyAV is needed for nothing else here."""

import argparse
import json
from functools import partial

from ..errors import PictureError
from ..networks.shipped import SHIPPED_DENOISER
from ..quality.assess import assess, cache_folder
from ..quality.bundled import SHIPPED_ASSESSOR
from ..quality.cache import ScoreCache
from ..video.clip import Chain
from ..video.names import TEMPORAL
from .chain import open_device, peak_rss_mb
from .work import Work, open_work


def chain_of(work: Work, args: argparse.Namespace) -> Chain:
    """How every frame of the clip is restored."""
    judge = partial(assess, work.assessor, cache=ScoreCache(cache_folder()))
    temporal = TEMPORAL if args.temporal is None else args.temporal
    return Chain(work.model, judge, work.prompts, work.settings, temporal, work.assumed)


def models_of(args: argparse.Namespace) -> list[object]:
    """What decides the result beside settings and clip: the files of the models, and how they are read."""
    return [args.model or SHIPPED_DENOISER, args.mode, args.assessor or SHIPPED_ASSESSOR, args.assessor_bits]


def need_clips(args: argparse.Namespace) -> None:
    """Raise PictureError where the installed PyAV cannot read and write clips."""
    try:
        from ..video import command  # noqa: F401
    except ImportError as missing:
        raise PictureError(
            f"{args.input}: clips need PyAV 18 or newer ({missing}); install it with pip install 'adaqual[video]'"
        ) from None


def restore_clip(args: argparse.Namespace) -> int:
    """Restore the clip that the options name on this machine; the exit status."""
    from ..video.command import restore_clip_file

    work = open_work(args, open_device(args.device))
    report = restore_clip_file(chain_of(work, args), args.input, args.output, models_of(args))
    tell_json(args, report, work.settings.steps)
    return 0


def tell_json(args: argparse.Namespace, report: dict, steps: int) -> None:
    """Print what was done to the clip as one JSON object, where the options ask for it."""
    if args.json:
        print(json.dumps(report | {"steps": steps, "peak_rss_mb": peak_rss_mb()}), flush=True)
