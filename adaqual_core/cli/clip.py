"""``adaqual restore`` of a clip, on this machine or on a cluster; PyAV is needed for nothing else here."""

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


def restore_clip(args: argparse.Namespace) -> int:
    """Restore the clip that the options name; the exit status."""
    try:
        from ..video.command import restore_clip_file
    except ImportError as missing:
        raise PictureError(
            f"{args.input}: clips need PyAV 18 or newer ({missing}); install it with pip install 'adaqual[video]'"
        ) from None
    work = open_work(args, open_device(args.device))
    models = [args.model or SHIPPED_DENOISER, args.mode, args.assessor or SHIPPED_ASSESSOR, args.assessor_bits]
    report = restore_clip_file(chain_of(work, args), args.input, args.output, models)
    if args.json:
        print(json.dumps(report | {"steps": work.settings.steps, "peak_rss_mb": peak_rss_mb()}), flush=True)
    return 0
