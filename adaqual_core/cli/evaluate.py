"""This module is ``adaqual evaluate``: it restores degraded pictures and measures them beside their originals."""

import argparse
import json
from dataclasses import asdict

from torch import Tensor
from tqdm import tqdm

from ..console import say
from ..evaluate import average, measure, table
from ..pictures.pairs import Pair
from ..prompt import PromptSettings
from ..sampling.settings import settings_for
from .chain import given, judge_picture, open_device, open_models, restore_picture


def run(args: argparse.Namespace, planned: list[Pair]) -> int:
    """Print a table of the measures per class, and one JSON object where ``--json`` asks for it. Returns exit status 0."""
    models = open_models(args, open_device(args.device))
    settings, prompts = settings_for(models.restorer, **given(args, "steps")), PromptSettings()

    def restored(picture: Tensor) -> tuple[Tensor, float, float]:
        result, before = restore_picture(models, picture, prompts, settings, "restoring")
        return result.picture, before, float(judge_picture(models.assessor, result.picture, "restored").mean)

    groups: dict[str, list] = {}
    for pair in tqdm(planned, desc="pictures", unit="picture", disable=None):
        groups.setdefault(pair.group, []).append(measure(pair, restored))
    say(table(groups))
    if args.json:
        everything = [one for group in groups.values() for one in group]
        classes = {name: {"pictures": len(group)} | asdict(average(group)) for name, group in groups.items()}
        total = {"pictures": len(everything)} | asdict(average(everything))
        say(json.dumps({"steps": settings.steps, "classes": classes, "average": total}))
    return 0
