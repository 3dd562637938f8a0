"""``adaqual restore`` of a clip; PyAV is needed for nothing else here."""

import argparse
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import PictureError
from ..networks.shipped import SHIPPED_DENOISER
from ..prompt import PromptSettings
from ..quality.assess import assess, cache_folder
from ..quality.bundled import SHIPPED_ASSESSOR
from ..quality.cache import ScoreCache
from ..quality.map import QualityMap
from ..quality.naming import with_kinds
from ..sampling.settings import settings_for
from ..video.clip import Chain
from ..video.names import TEMPORAL
from .chain import open_models, peak_rss_mb


def restore_clip(
    args: argparse.Namespace, prompts: PromptSettings, sampling: Mapping[str, Any], device: torch.device, mask: Tensor | None
) -> int:
    """Restore the clip that the options name; the exit status.

    ``sampling``: the settings of the sampler that were given. ``mask`` [1, h, w]: the region of what is assumed, None for all.
    """
    try:
        from ..video.command import restore_clip_file
    except ImportError as missing:
        raise PictureError(
            f"{args.input}: clips need PyAV 18 or newer ({missing}); install it with pip install 'adaqual[video]'"
        ) from None
    models = open_models(args, device)
    settings, cache = settings_for(models.restorer, **sampling), ScoreCache(cache_folder())

    def judge(picture: Tensor) -> QualityMap:
        return with_kinds(assess(models.assessor, picture, cache=cache), picture, models.namer)

    temporal = TEMPORAL if args.temporal is None else args.temporal
    chain = Chain(models.restorer, judge, prompts, settings, temporal, args.assumed, mask)
    decisive = [args.model or SHIPPED_DENOISER, args.mode, args.assessor or SHIPPED_ASSESSOR, args.assessor_bits]
    decisive += [] if mask is None else [args.assume_mask]
    decisive += [] if models.namer is None else [SHIPPED_ASSESSOR]
    report = restore_clip_file(chain, args.input, args.output, decisive)
    if args.json:
        print(json.dumps(report | {"steps": settings.steps, "peak_rss_mb": peak_rss_mb()}), flush=True)
    return 0
