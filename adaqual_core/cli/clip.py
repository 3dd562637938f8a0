"""This module is ``adaqual restore`` for a clip. No other command needs PyAV for its work."""

import argparse
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from ..errors import PictureError
from ..networks.shipped import SHIPPED_DENOISER
from ..prompt import PromptSettings
from ..quality.assess import assess, cache_folder
from ..quality.bundled import SHIPPED_ASSESSOR
from ..quality.cache import ScoreCache
from ..sampling.settings import settings_for
from ..video.clip import Chain
from ..video.names import TEMPORAL
from .chain import need_kinds, open_models, peak_rss_mb


def restore_clip(args: argparse.Namespace, prompts: PromptSettings, sampling: Mapping[str, Any], device: torch.device) -> int:
    """Restore the clip that the options name, print the report where ``--json`` asks for it, and return the exit status.

    ``sampling`` holds the sampler's settings that were given. Raises :class:`PictureError` where PyAV is missing or too old.
    """
    try:
        from ..video.command import restore_clip_file
    except ImportError as missing:
        raise PictureError(
            f"{args.input}: clips need PyAV 18 or newer ({missing}); install it with pip install 'adaqual[video]'"
        ) from None
    model, assessor = open_models(args, device)
    settings = settings_for(model, **sampling)
    if min(prompts.factors) < 1:
        need_kinds("--keep" if args.keep is not None else "--only", assessor, args)
    judge = partial(assess, assessor, cache=ScoreCache(cache_folder()))
    temporal = TEMPORAL if args.temporal is None else args.temporal
    chain = Chain(model, judge, prompts, settings, temporal, args.assumed)
    models = [args.model or SHIPPED_DENOISER, args.mode, args.assessor or SHIPPED_ASSESSOR, args.assessor_bits]
    report = restore_clip_file(chain, args.input, args.output, models)
    if args.json:
        print(json.dumps(report | {"steps": settings.steps, "peak_rss_mb": peak_rss_mb()}), flush=True)
    return 0
