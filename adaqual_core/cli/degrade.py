"""This module is ``adaqual degrade``: it damages a picture for tests."""

import argparse
from dataclasses import replace

from ..console import say
from ..damage import degrade
from ..imageio import to_pixels, to_tensor
from ..pictures.reading import read_frames
from .jobs import Plan
from .output import note_losses, write_job


def run(args: argparse.Namespace, planned: Plan) -> int:
    """Damage the planned picture, every frame of an animation in the same way, and return exit status 0."""
    for job in planned.jobs:
        frames = []
        for frame in read_frames(job.header):
            picture = to_tensor(frame.pixels)
            picture[0, :3] = degrade(picture[0, :3], args.kinds, args.severity, seed=args.seed).picture
            frames.append(replace(frame, pixels=to_pixels(picture, frame.pixels)))
        note_losses(job, write_job(job, frames))
        say(f"{job.targets[0]}: {', '.join(args.kinds)} at severity {args.severity:g}")
    return 0
