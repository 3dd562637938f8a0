"""This module is ``adaqual quality``: it judges a picture, or all pictures of a folder."""

import argparse
import json
import os

from ..console import say
from ..imageio import read_picture, write_picture
from ..kinds import KINDS
from ..quality.assess import Assessor
from ..quality.estimator import QualityEstimator
from ..quality.heatmap import grey_map, heatmap, kinds_sheet
from ..quality.map import QualityMap
from .chain import judge_picture, open_device, open_judge, shown
from .jobs import Job, Plan, raise_failures
from .messages import complain


def _mean_kinds(quality: QualityMap) -> dict[str, float] | None:
    """Return the mean severity of each kind of damage in the one picture of a map; None where the map names no kinds."""
    kinds = quality.kind_cells()
    return None if kinds is None else {kind: round(float(kinds[:, i].mean()), 4) for i, kind in enumerate(KINDS)}


def _judge_file(assessor: Assessor, job: Job, args: argparse.Namespace) -> dict:
    """Judge one picture, write the pictures of its map that were asked for, and return its scores."""
    quality = judge_picture(assessor, read_picture(job.header.path), shown(job.header.path))
    colours = kinds_sheet if args.by_kind else heatmap
    makers = [maker for maker, asked in ((grey_map, args.map), (colours, args.heatmap)) if asked is not None]
    for maker, target in zip(makers, job.targets, strict=True):
        write_picture(maker(quality), target)
    scores = quality.scores
    found = {
        "mean": round(float(quality.mean), 4),
        "min": round(float(scores.min()), 4),
        "max": round(float(scores.max()), 4),
        "shape": list(scores.shape[-2:]),
        "kinds": _mean_kinds(quality),
    }
    say(f"{job.header.path}: mean quality {found['mean']:.2f}, from {found['min']:.2f} to {found['max']:.2f}")
    return found


def run(args: argparse.Namespace, planned: Plan) -> int:
    """Judge the planned pictures, and return exit status 0 where all were judged.

    Of a folder, every picture that can be read is judged, and :class:`PictureError` lists the failures at the end.
    """
    device = open_device(args.device)
    folder = os.path.isdir(args.input)
    reports, failed = [], []
    if planned.jobs:
        assessor = open_judge(args, device)
        if args.by_kind and not isinstance(assessor, QualityEstimator):
            raise ValueError(
                f"--by-kind: the assessor {args.assessor} names no kinds of damage; leave out --assessor for the one that comes "
                "with the pack, or leave out --by-kind"
            )
    for job in planned.jobs:
        try:
            reports.append({"picture": job.name} | _judge_file(assessor, job, args))
        except (ValueError, OSError, RuntimeError, MemoryError) as problem:
            if not folder:
                raise
            failed.append(job.name)
            complain(problem)
    if args.json and reports:
        if folder:
            total = {
                "mean": round(sum(report["mean"] for report in reports) / len(reports), 4),
                "min": min(report["min"] for report in reports),
                "max": max(report["max"] for report in reports),
            }
            say(json.dumps(total | {"pictures": reports, "failed": [*planned.failed, *failed]}))
        else:
            say(json.dumps({key: value for key, value in reports[0].items() if key != "picture"}))
    raise_failures(planned, failed, "the others were judged")
    return 0
