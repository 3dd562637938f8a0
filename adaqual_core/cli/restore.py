"""This module is ``adaqual restore``: it restores a picture, a clip, or all pictures and clips of a folder."""

import argparse
import json
import os
import time
from dataclasses import replace

from torch import Tensor

from ..console import say
from ..imageio import to_pixels, to_tensor
from ..pictures.reading import read_frames
from ..prompt import PromptSettings
from ..sampling.settings import RestoreSettings, settings_for
from .chain import (
    Models,
    given,
    judge_picture,
    open_device,
    open_models,
    peak_rss_mb,
    read_mask,
    restore_picture,
    settings_from,
    shown,
)
from .clip import check_clip, restore_clip
from .jobs import ClipJob, Job, Plan, raise_failures
from .messages import complain
from .output import write_job

SAMPLING = ("steps", "seed", "schedule", "strength", "tile", "overlap", "stride", "patch_batch")
"""The options that become :class:`RestoreSettings`."""


def _restore_file(
    models: Models, job: Job, prompts: PromptSettings, settings: RestoreSettings, mask: Tensor | None, args: argparse.Namespace
) -> dict:
    """Restore every frame of a file, write the result, and return what is reported of it.

    ``seconds`` in the report is the time for judging and restoring, without reading, writing and the second judgement.
    Qualities are means over the frames, 1 to 5.
    """
    frames, before, after, seconds, tiles_total, tiles_run = [], 0.0, 0.0, 0.0, 0, 0
    for number, frame in enumerate(read_frames(job.header), 1):
        label = shown(job.header.path) + (f" {number}/{job.header.frames}" if job.header.frames > 1 else "")
        picture = to_tensor(frame.pixels)
        frame = replace(frame, pixels=frame.pixels[:1, :1].copy())  # only channels and kind of numbers are needed any more
        start = time.perf_counter()
        result, found = restore_picture(models, picture, prompts, settings, label, args.assumed, mask)
        seconds += time.perf_counter() - start
        del picture
        before += found
        after += float(judge_picture(models.assessor, result.picture, label).mean)
        tiles_total, tiles_run = tiles_total + result.tiles_total, tiles_run + result.tiles_run
        frames.append(replace(frame, pixels=to_pixels(result.picture, frame.pixels)))
    write_job(job, frames, args.quality)
    before, after = before / len(frames), after / len(frames)
    say(f"{job.targets[0]}: quality {before:.2f} -> {after:.2f}, {tiles_run} of {tiles_total} tiles run, {seconds:.1f} s")
    report = {
        "picture": job.name,
        "seconds": round(seconds, 3),
        "mean_quality_before": round(before, 4),
        "mean_quality_after": round(after, 4),
        "tiles_total": tiles_total,
        "tiles_run": tiles_run,
    }
    return report | ({"frames": len(frames)} if len(frames) > 1 else {})


def _summary(reports: list[dict], steps: int | None) -> dict:
    """Return sums and means over the pictures, for the JSON object; ``steps`` is None where no picture was restored."""
    summary: dict[str, float | None] = {"seconds": round(sum(report["seconds"] for report in reports), 3), "steps": steps}
    for key in ("mean_quality_before", "mean_quality_after"):
        summary[key] = round(sum(report[key] for report in reports) / len(reports), 4) if reports else None
    for key in ("tiles_total", "tiles_run"):
        summary[key] = sum(report[key] for report in reports)
    return summary | {"peak_rss_mb": peak_rss_mb()}


def _sound_clips(planned: Plan, folder: bool, failed: list[str]) -> list[ClipJob]:
    """Return the planned clips that can be restored; of a ``folder`` the others are said on stderr and named in ``failed``."""
    sound = []
    for job in planned.clips:
        try:
            check_clip(job)
        except (ValueError, OSError) as problem:
            if not folder:
                raise
            failed.append(job.name)
            complain(problem)
            continue
        sound.append(job)
    return sound


def run(args: argparse.Namespace, planned: Plan) -> int:
    """Restore what is planned, and return exit status 0 where all was restored.

    Of a folder, every picture and clip that can be restored is restored, and :class:`PictureError` lists the failures at the
    end.
    """
    settings_from(RestoreSettings, args, *SAMPLING)
    prompts = settings_from(PromptSettings, args, "preserve", "factors")
    device, mask = open_device(args.device), read_mask(args.assume_mask)
    folder = os.path.isdir(args.input)
    reports, clip_reports, failed = [], [], []
    clips, steps = _sound_clips(planned, folder, failed), None
    if planned.jobs or clips:
        models = open_models(args, device)
        settings = settings_for(models.restorer, **given(args, *SAMPLING))
        steps = settings.steps
    for job in [*planned.jobs, *clips]:
        try:
            if isinstance(job, ClipJob):
                clip_reports.append(restore_clip(job, models, prompts, settings, mask, args))
            else:
                reports.append(_restore_file(models, job, prompts, settings, mask, args))
        except (ValueError, OSError, RuntimeError, MemoryError) as problem:
            if not folder:
                raise
            failed.append(job.name)
            complain(problem)
    if planned.skipped:
        say(f"{len(planned.skipped)} files skipped, whose output is there already")
    if args.json and clip_reports and not folder:
        print(json.dumps(clip_reports[0] | {"steps": steps, "peak_rss_mb": peak_rss_mb()}), flush=True)
    elif args.json and (reports or clip_reports or planned.skipped):
        summary = _summary(reports, steps)
        if folder or planned.skipped:
            summary |= {"pictures": reports, "failed": [*planned.failed, *failed], "skipped": planned.skipped}
        if clip_reports:
            summary |= {"clips": clip_reports}
        print(json.dumps(summary), flush=True)
    raise_failures(planned, failed, f"the others are in {args.output}")
    return 0
