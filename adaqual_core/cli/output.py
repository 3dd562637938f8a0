"""Writing what a command made of a picture, and saying in one line what the file could not hold."""

from collections.abc import Sequence

from ..pictures.reading import Frame
from ..pictures.writing import write_frames
from .jobs import Job
from .messages import note


def write_job(job: Job, frames: Sequence[Frame], quality: int | None = None) -> list[str]:
    """Write the frames to the job's first target; phrases that say what reading or writing it lost."""
    return [*job.header.notes, *write_frames(frames, job.targets[0], job.header, quality)]


def note_losses(job: Job, lost: Sequence[str]) -> None:
    """Say on stderr what reading or writing a picture lost, where it lost anything."""
    if lost:
        note(f"{job.targets[0]}: {'; '.join(lost)}")
