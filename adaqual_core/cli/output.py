"""This module writes the pictures that a command made, and says in one line what a file could not hold."""

from collections.abc import Sequence

from ..pictures.reading import Frame
from ..pictures.writing import write_frames
from .jobs import Job
from .messages import note


def write_job(job: Job, frames: Sequence[Frame], quality: int | None = None) -> list[str]:
    """Write the frames to the job's first target, and return one phrase for each thing that reading or writing lost."""
    return [*job.header.notes, *write_frames(frames, job.targets[0], job.header, quality)]


def note_losses(job: Job, lost: Sequence[str]) -> None:
    """Print to stderr what reading or writing a picture lost, if it lost anything."""
    if lost:
        note(f"{job.targets[0]}: {'; '.join(lost)}")
