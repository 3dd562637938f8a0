"""This module writes what a command made of a picture, and says in one line what the file could not hold."""

from collections.abc import Sequence

from ..pictures.reading import Frame
from ..pictures.writing import write_frames
from .jobs import Job
from .messages import note


def write_job(job: Job, frames: Sequence[Frame], quality: int | None = None) -> None:
    """Write the frames to the job's first target, and say on stderr what reading or writing it lost."""
    target = job.targets[0]
    lost = [*job.header.notes, *write_frames(frames, target, job.header, quality)]
    if lost:
        note(f"{target}: {'; '.join(lost)}")
