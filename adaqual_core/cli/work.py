"""This module does what ``adaqual restore`` does to one picture file, on this machine or on a worker of a cluster."""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..imageio import to_pixels, to_tensor
from ..pictures.reading import read_frames
from ..prompt import PromptSettings
from ..sampling.settings import RestoreSettings, settings_for
from .chain import Models, given, judge_picture, open_models, peak_rss_mb, read_mask, restore_picture, settings_from, shown
from .jobs import Job
from .messages import UsageError, message_of
from .output import write_job

SAMPLING = ("steps", "seed", "schedule", "strength", "tile", "overlap", "stride", "patch_batch")
"""The options that become :class:`RestoreSettings`."""


@dataclass(frozen=True)
class Work:
    """This class holds the models and settings with which every file of a call is restored.

    ``assumed``: severities by kind of damage that every picture has at least, in the region of ``mask`` [1, h, w] in [0, 1] only
    where there is one. ``quality``: of the lossy files that are written, 1 to 100, or None for the default.
    """

    models: Models
    prompts: PromptSettings
    settings: RestoreSettings
    assumed: Mapping[str, float]
    mask: Tensor | None
    quality: int | None


@dataclass(frozen=True)
class Outcome:
    """This class says what became of one file: it holds the ``report``, or the ``problem`` in words; the other of the two is
    None.

    ``lost``: phrases that say what reading or writing the file lost. ``peak_rss_mb``: most memory that the process which restored
    it has held so far, in MiB, None where the system does not tell. ``steps``: the diffusion steps that were taken.
    """

    report: dict[str, Any] | None
    lost: Sequence[str] = ()
    problem: str | None = None
    peak_rss_mb: float | None = None
    steps: int | None = None


def prompts_from(args: argparse.Namespace) -> PromptSettings:
    """Return the settings of prompts that the options name; raises :class:`UsageError` where they or the sampler's are
    impossible.
    """
    settings_from(RestoreSettings, args, *SAMPLING)
    return settings_from(PromptSettings, args, "preserve", "factors")


def open_work(args: argparse.Namespace, device: torch.device) -> Work:
    """Open the models of the options on ``device``, and return them with all settings. Raises ValueError for models that cannot
    do what is asked.
    """
    prompts, mask = prompts_from(args), read_mask(args.assume_mask)
    models = open_models(args, device)
    settings = settings_for(models.restorer, **given(args, *SAMPLING))
    return Work(models, prompts, settings, args.assumed, mask, args.quality)


def restore_file(work: Work, job: Job) -> Outcome:
    """Restore every frame of a file. The report's ``seconds`` are those of assessing and restoring, without reading, writing and
    the second score.
    """
    frames, before, after, seconds, tiles_total, tiles_run = [], 0.0, 0.0, 0.0, 0, 0
    for number, frame in enumerate(read_frames(job.header), 1):
        label = shown(job.header.path) + (f" {number}/{job.header.frames}" if job.header.frames > 1 else "")
        picture = to_tensor(frame.pixels)
        frame = replace(frame, pixels=frame.pixels[:1, :1].copy())  # only channels and kind of numbers are needed any more
        start = time.perf_counter()
        result, found = restore_picture(work.models, picture, work.prompts, work.settings, label, work.assumed, work.mask)
        seconds += time.perf_counter() - start
        del picture
        before += found
        after += float(judge_picture(work.models.assessor, result.picture, label).mean)
        tiles_total, tiles_run = tiles_total + result.tiles_total, tiles_run + result.tiles_run
        frames.append(replace(frame, pixels=to_pixels(result.picture, frame.pixels)))
    lost = write_job(job, frames, work.quality)
    report = {
        "picture": job.name,
        "seconds": round(seconds, 3),
        "mean_quality_before": round(before / len(frames), 4),
        "mean_quality_after": round(after / len(frames), 4),
        "tiles_total": tiles_total,
        "tiles_run": tiles_run,
    }
    if len(frames) > 1:
        report["frames"] = len(frames)
    return Outcome(report, lost, peak_rss_mb=peak_rss_mb(), steps=work.settings.steps)


def attempted(restore: Callable[..., Outcome], *values: Any) -> Outcome:
    """Return the outcome of restoring one file; an error of file or model becomes its ``problem``. Mistakes in program and usage
    are raised.
    """
    try:
        return restore(*values)
    except UsageError:
        raise
    except (ValueError, OSError, RuntimeError, MemoryError) as problem:
        return Outcome(None, problem=message_of(problem))
