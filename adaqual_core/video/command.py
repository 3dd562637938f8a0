"""``adaqual restore`` of a clip: progress with the time left, and a report."""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

from av.error import FFmpegError
from tqdm import tqdm

from ..console import say
from ..errors import PictureError
from ..sampling.settings import Preview
from .clip import Chain
from .segments import ClipReport, restore_clip


def work_of(chain: Chain, others: Sequence[object]) -> dict[str, str]:
    """What decides the result beside the clip, in words: settings, and ``others``, of which files are told apart by content."""
    told = [_told(one) for one in others]
    return {
        "settings": f"{chain.prompts} {chain.settings} temporal={chain.temporal} {sorted(chain.assumed.items())}",
        "models": " ".join(told),
    }


def _told(one: object) -> str:
    if not isinstance(one, Path) or not one.is_file():
        return str(one)
    digest = hashlib.sha256()
    with open(one, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def restore_clip_file(chain: Chain, source: Path, target: Path, others: Sequence[object]) -> dict:
    """Restore a clip with a progress bar; what was done, as numbers. Arguments as for :func:`work_of`."""
    start = time.perf_counter()
    with tqdm(desc=source.name, unit="frame", leave=False, disable=None) as bar:

        def progress(done: int, total: int, preview: Preview | None) -> None:
            if bar.total is None:
                bar.initial, bar.n = done, done  # what an earlier run did does not count into the speed
            bar.total = total
            bar.update(done - bar.n)

        try:
            report = restore_clip(chain, source, target, work_of(chain, others), progress)
        except FFmpegError as problem:
            raise PictureError(f"{target}: FFmpeg cannot encode the clip ({problem}); end the name in .mkv") from None
    return tell_clip(report, source, target, time.perf_counter() - start)


def tell_clip(report: ClipReport, source: Path, target: Path, seconds: float) -> dict:
    """Say what was done to a clip, and give it as numbers for the JSON object."""
    for line in report.left_out:
        say(f"{source}: {line}")
    say(
        f"{target}: {report.frames} frames, quality {report.mean_quality_before:.2f} before, "
        f"{report.tiles_run} of {report.tiles_total} tiles run, {seconds:.1f} s"
    )
    return {
        "clip": source.name,
        "seconds": round(seconds, 3),
        "frames": report.frames,
        "mean_quality_before": round(report.mean_quality_before, 4),
        "tiles_total": report.tiles_total,
        "tiles_run": report.tiles_run,
        "left_out": list(report.left_out),
    }
