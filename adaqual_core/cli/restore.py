"""``adaqual restore``: one picture, or all pictures of a folder, on this machine or on a cluster."""

import argparse
import json
import os
from collections.abc import Iterator, Sequence

from ..console import say
from .chain import open_device, peak_rss_mb
from .jobs import Job, Plan, raise_failures
from .messages import complain
from .output import note_losses
from .work import Outcome, open_work, prompts_from, restore_file


def _restored(args: argparse.Namespace, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
    """Restore the pictures and give what became of each: in their order on this machine, as they come from a cluster."""
    if not jobs:
        return
    if args.cluster is not None:
        from .cluster import restored_on_cluster  # brings Ray

        yield from restored_on_cluster(args, jobs)
        return
    work = open_work(args, open_device(args.device))
    for job in jobs:
        yield job, restore_file(work, job)


def _summary(outcomes: Sequence[Outcome]) -> dict:
    """Sums and means over the pictures that were restored, for the JSON object."""
    reports = [outcome.report for outcome in outcomes if outcome.report is not None]
    summary = {
        "seconds": round(sum(report["seconds"] for report in reports), 3),
        "steps": next((outcome.steps for outcome in outcomes if outcome.steps is not None), None),
    }
    for key in ("mean_quality_before", "mean_quality_after"):
        summary[key] = round(sum(report[key] for report in reports) / len(reports), 4) if reports else None
    for key in ("tiles_total", "tiles_run"):
        summary[key] = sum(report[key] for report in reports)
    peaks = [outcome.peak_rss_mb for outcome in outcomes if outcome.peak_rss_mb is not None]
    return summary | {"peak_rss_mb": max(peaks, default=peak_rss_mb())}


def _tell(job: Job, outcome: Outcome) -> None:
    """Say what became of a picture: one line on stdout, or an error on stderr."""
    if outcome.report is None:
        complain(RuntimeError(outcome.problem))
        return
    note_losses(job, outcome.lost)
    report = outcome.report
    say(
        f"{job.targets[0]}: quality {report['mean_quality_before']:.2f} -> {report['mean_quality_after']:.2f}, "
        f"{report['tiles_run']} of {report['tiles_total']} tiles run, {report['seconds']:.1f} s"
    )


def run(args: argparse.Namespace, planned: Plan | None) -> int:
    """Restore what is planned, or a clip where no pictures are.

    Of a folder, every picture that can be restored is, and failures are listed at the end.
    """
    prompts_from(args)  # refuses impossible settings before any model is loaded
    if planned is None:
        from . import clip

        clip.need_clips(args)
        if args.cluster is None:
            return clip.restore_clip(args)
        from . import cluster_clip  # brings Ray and PyAV

        return cluster_clip.restore_clip(args)
    folder = os.path.isdir(args.input)
    found: dict[str, Outcome] = {}
    for job, outcome in _restored(args, planned.jobs):
        if outcome.report is None and not folder:
            raise RuntimeError(outcome.problem)
        found[job.name] = outcome
        _tell(job, outcome)
    outcomes = [found[job.name] for job in planned.jobs]
    reports = [outcome.report for outcome in outcomes if outcome.report is not None]
    failed = [job.name for job in planned.jobs if found[job.name].report is None]
    if planned.skipped:
        say(f"{len(planned.skipped)} pictures skipped, whose output is there already")
    if args.json and (reports or planned.skipped):
        summary = _summary(outcomes)
        if folder or planned.skipped:
            summary |= {"pictures": reports, "failed": [*planned.failed, *failed], "skipped": planned.skipped}
        print(json.dumps(summary), flush=True)
    raise_failures(planned, failed, f"the others are in {args.output}")
    return 0
