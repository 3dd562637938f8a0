"""This module restores a clip for ``adaqual restore``: it shows progress with the time left, and reports what was done."""

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


def decisive(chain: Chain, others: Sequence[object]) -> dict[str, str]:
    """Return what decides the result beside the clip, as texts by name: the settings, and ``others``, which are models and
    options. A file among ``others`` is represented by the SHA-256 of its content, so a renamed file counts as the same.
    """
    told = [_told(one) for one in others]
    return {
        "settings": f"{chain.prompts} {chain.settings} temporal={chain.temporal} {sorted(chain.assumed.items())}",
        "models": " ".join(told),
    }


def _told(one: object) -> str:
    """Return the SHA-256 of a file's content in hexadecimal, and the text of anything else."""
    if not isinstance(one, Path) or not one.is_file():
        return str(one)
    digest = hashlib.sha256()
    with open(one, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def restore_clip_file(chain: Chain, source: Path, target: Path, others: Sequence[object]) -> dict:
    """Restore a clip with a progress bar, and return the numbers of :func:`tell_clip`. Arguments are those of :func:`decisive`;
    raises :class:`PictureError` where the clip cannot be read or written.
    """
    start = time.perf_counter()
    with tqdm(desc=source.name, unit="frame", leave=False, disable=None) as bar:

        def progress(done: int, total: int, preview: Preview | None) -> None:
            if bar.total is None:
                bar.initial, bar.n = done, done  # what an earlier run did does not count into the speed
            bar.total = total
            bar.update(done - bar.n)

        try:
            report = restore_clip(chain, source, target, decisive(chain, others), progress)
        except FFmpegError as problem:
            raise PictureError(f"{target}: FFmpeg cannot encode the clip ({problem}); end the name in .mkv") from None
    return tell_clip(report, source, target, time.perf_counter() - start)


def tell_clip(report: ClipReport, source: Path, target: Path, seconds: float) -> dict:
    """Print what was done to a clip, and return it as numbers for the JSON object; ``seconds`` is how long it took."""
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
