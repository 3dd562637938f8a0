"""This module is ``adaqual restore``: it restores a picture, a clip, or a folder of both, here or on a cluster."""

import argparse
import json
import os
from collections.abc import Iterator, Sequence

from ..console import say
from .chain import open_device, peak_rss_mb
from .clip import check_clip, restore_clip
from .jobs import ClipJob, Job, Plan, raise_failures
from .messages import complain
from .output import note_losses
from .work import Outcome, attempted, open_work, prompts_from, restore_file


def _restored(args: argparse.Namespace, jobs: Sequence[Job], clips: Sequence[ClipJob]) -> Iterator[tuple[Job | ClipJob, Outcome]]:
    """Restore the files and yield each job with its outcome: in their order on this machine, as they finish on a cluster."""
    if not jobs and not clips:
        return
    if args.cluster is not None:
        from .cluster import connected, restored_on_cluster  # brings Ray

        with connected(args.cluster):
            yield from restored_on_cluster(args, jobs)
            for job in clips:
                from .cluster_clip import restore_clip_on_cluster  # brings PyAV

                yield job, attempted(restore_clip_on_cluster, job, args)
        return
    work = open_work(args, open_device(args.device))
    for job in jobs:
        yield job, attempted(restore_file, work, job)
    for job in clips:
        yield job, attempted(restore_clip, work, job, args)


def _summary(reports: Sequence[dict], outcomes: Sequence[Outcome]) -> dict:
    """Return sums and means over the pictures, for the JSON object."""
    summary = {"seconds": round(sum(report["seconds"] for report in reports), 3)} | _process(outcomes)
    peak = summary.pop("peak_rss_mb")
    for key in ("mean_quality_before", "mean_quality_after"):
        summary[key] = round(sum(report[key] for report in reports) / len(reports), 4) if reports else None
    for key in ("tiles_total", "tiles_run"):
        summary[key] = sum(report[key] for report in reports)
    return summary | {"peak_rss_mb": peak}


def _process(outcomes: Sequence[Outcome]) -> dict:
    """Return the number of diffusion steps, and the most memory in MiB that a process which restored has held."""
    peaks = [outcome.peak_rss_mb for outcome in outcomes if outcome.peak_rss_mb is not None]
    steps = next((outcome.steps for outcome in outcomes if outcome.steps is not None), None)
    return {"steps": steps, "peak_rss_mb": max(peaks, default=peak_rss_mb())}


def _tell(job: Job | ClipJob, outcome: Outcome) -> None:
    """Print what became of a file: one line on stdout, or an error on stderr. For clips, the line is printed by
    :func:`adaqual_core.video.command.tell_clip`.
    """
    if outcome.report is None:
        complain(RuntimeError(outcome.problem))
    elif isinstance(job, Job):
        note_losses(job, outcome.lost)
        report = outcome.report
        say(
            f"{job.targets[0]}: quality {report['mean_quality_before']:.2f} -> {report['mean_quality_after']:.2f}, "
            f"{report['tiles_run']} of {report['tiles_total']} tiles run, {report['seconds']:.1f} s"
        )


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
    """Restore what is planned. Of a folder, everything that can be restored is, and failures are listed at the end."""
    prompts_from(args)  # refuses impossible settings before any model is loaded
    folder, failed = os.path.isdir(args.input), []
    clips = _sound_clips(planned, folder, failed)
    found: dict[str, Outcome] = {}
    for job, outcome in _restored(args, planned.jobs, clips):
        if outcome.report is None and not folder:
            raise RuntimeError(outcome.problem)
        found[job.name] = outcome
        _tell(job, outcome)
    outcomes = [found[job.name] for job in [*planned.jobs, *clips]]
    failed += [job.name for job in [*planned.jobs, *clips] if found[job.name].report is None]
    reports = [report for job in planned.jobs if (report := found[job.name].report) is not None]
    clip_reports = [report for job in clips if (report := found[job.name].report) is not None]
    if planned.skipped:
        say(f"{len(planned.skipped)} files skipped, whose output is there already")
    if args.json and clip_reports and not folder:
        say(json.dumps(clip_reports[0] | _process(outcomes)))
    elif args.json and (reports or clip_reports or planned.skipped):
        summary = _summary(reports, outcomes)
        if folder or planned.skipped:
            summary |= {"pictures": reports, "failed": [*planned.failed, *failed], "skipped": planned.skipped}
        if clip_reports:
            summary |= {"clips": clip_reports}
        say(json.dumps(summary))
    raise_failures(planned, failed, f"the others are in {args.output}")
    return 0
