"""This module restores a clip for ``adaqual restore --cluster``.

One worker judges the frames in their order, because what is remembered of a shot may reach back to its first frame, and keeps the
memory after each segment. From these memories all workers restore segments at the same time, as one machine would have done one
after the other. This process joins them.
"""

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..video.command import decisive, tell_clip
from ..video.container import read_clip
from ..video.segments import (
    FRAMES,
    Parts,
    join_parts,
    judged_segments,
    missing_segments,
    open_parts,
    parts_folder,
    remember_segments,
    restore_segments,
)
from .chain import peak_rss_mb
from .clip import chain_of, decisive_files
from .cluster import ROUNDS, TRIES, check_shared, find_pool, on_one_worker, open_on_worker, shared_files, whole_paths, worked
from .jobs import ClipJob
from .messages import message_of
from .work import Outcome

SHARES = 4
"""Pieces that each worker gets of a clip, on average: with few, workers wait for the last one; each piece reads the clip anew."""


def _remember(args: argparse.Namespace, cores: int, shared: Sequence[Path], source: Path, target: Path) -> tuple[Parts, int, int]:
    """Check the clip, judge its frames, and return its parts, the number of segments, and the number of diffusion steps."""
    check_shared(shared)
    work = open_on_worker(args, cores)
    chain = chain_of(work, args)
    parts = open_parts(source, target, decisive(chain, decisive_files(work, args)))
    return parts, remember_segments(chain, parts), chain.settings.steps


class ClipWorker:
    """This worker restores segments of a clip in a process of its own, with models that are opened once."""

    def __init__(self, args: argparse.Namespace, cores: int):
        self.chain = chain_of(open_on_worker(args, cores), args)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list]:
        """Restore the segments of the one piece in a batch, and return its number and the problem in words, which is empty if
        there was none.
        """
        (number,), (parts,), (first,), (stop,) = (batch[key] for key in ("number", "parts", "first", "stop"))
        try:
            restore_segments(self.chain, parts, int(first), int(stop))
        except Exception as problem:  # Ray Data would drop the piece without a word
            return {"number": [number], "problem": [message_of(problem)]}
        return {"number": [number], "problem": [""]}


def pieces_of(segments: Sequence[int], workers: int) -> list[range]:
    """Cut the numbers of segments into runs without gaps, about :data:`SHARES` for each worker."""
    longest = math.ceil(len(segments) / (SHARES * workers))
    found: list[range] = []
    for number in segments:
        if found and found[-1].stop == number and len(found[-1]) < longest:
            found[-1] = range(found[-1].start, number + 1)
        else:
            found.append(range(number, number + 1))
    return found


def restore_clip_on_cluster(job: ClipJob, args: argparse.Namespace) -> Outcome:
    """Restore a checked clip on the cluster that this process is connected to.

    Raises RuntimeError where segments could not be restored. The others are kept: the same command goes on from them.
    """
    start = time.perf_counter()
    pool, options = find_pool(args.cluster, args.device), whole_paths(args)
    source, target = job.source.absolute(), job.target.absolute()
    with tqdm(
        desc=f"{job.source.name}: judging", total=read_clip(source).frames or None, unit="frame", leave=False, disable=None
    ) as bar:

        def show() -> None:
            bar.update(FRAMES * judged_segments(parts_folder(target)) - bar.n)

        parts, count, steps = on_one_worker(
            _remember, options, pool.cores, shared_files(options), source, target, pool=pool, meanwhile=show
        )
    ahead = dict(enumerate(pieces_of(missing_segments(parts, count), pool.size)))
    pieces = [{"number": number, "parts": parts, "first": piece.start, "stop": piece.stop} for number, piece in ahead.items()]
    problem = f"a worker died {ROUNDS * TRIES} times, perhaps for want of memory; try a smaller --tile"
    done = count - sum(map(len, ahead.values()))
    with tqdm(desc=job.source.name, total=count, initial=done, unit="segment", leave=False, disable=None) as bar:
        for row in worked(ClipWorker, pieces, options, pool) if pieces else ():
            if row["problem"]:
                problem = row["problem"]
            else:
                bar.update(len(ahead.pop(row["number"])))
    if ahead:
        failed = sum(map(len, ahead.values()))
        raise RuntimeError(
            f"{job.source}: {failed} of {count} segments failed ({problem}); the same command goes on from the rest"
        )
    report = tell_clip(join_parts(parts), job.source, job.target, time.perf_counter() - start)
    return Outcome(report, peak_rss_mb=peak_rss_mb(), steps=steps)
