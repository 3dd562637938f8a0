"""This module restores a clip file in segments, so that a killed run continues where it was.

Each segment of 48 frames is encoded into a file of its own beside the target and is renamed when it is whole; what is remembered
of its shot lies beside it. A run that finds whole segments made in the same way continues after them. At the end the segments'
packets and the source's other streams are written into the target, which appears whole or not at all. Memory does not depend on
the clip's length.
"""

import itertools
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from av import VideoFrame
from av.video.frame import PictureType
from torch import Tensor

from ..errors import PictureError
from ..pictures.replacing import replace_file
from ..sampling.settings import Preview
from .clip import Chain, Shot, look, read_shot, restore_frame, write_shot
from .container import Clip, frames_in, opened, read_clip
from .encoding import Encoding, add_picture, check_target, segment
from .joining import join_segments
from .pixels import as_format, frame_of, picture_of

FRAMES = 48
"""Frames of a segment: what a killed run loses at most."""

ClipProgress = Callable[[int, int, Preview | None], None]
"""Called with the number of finished frames, the number of frames of the clip as far as it is known, and a preview of the frame
that is being restored, None when one is finished."""


@dataclass(frozen=True)
class ClipReport:
    """This class says what was done to a clip: the number of frames, the mean quality before (1 to 5), how many 64 px tiles there
    are and how many were run, and one line for each thing in the source that was not carried over or not restored.
    """

    frames: int
    mean_quality_before: float
    tiles_total: int
    tiles_run: int
    left_out: tuple[str, ...] = ()


Result = tuple[VideoFrame, ClipReport, Shot]
"""A restored frame with its time stamp, what was done to it, and what is remembered for the frame after it."""


@dataclass(frozen=True)
class Parts:
    """This class describes a clip that is being restored into the file ``target``: its ``encoding``, the ``folder`` of its
    segments, and one line for each thing in the source that cannot be carried over.
    """

    clip: Clip
    encoding: Encoding
    target: Path
    folder: Path
    left_out: tuple[str, ...]


def restore_clip(
    chain: Chain, source: Path, target: Path, decisive: dict[str, str], progress: ClipProgress | None = None
) -> ClipReport:
    """Restore the clip ``source`` into the file ``target``.

    ``decisive`` says in words what else decides the result (model, settings): segments for which it differs are thrown away. What
    ``progress`` raises ends the run, which can be continued. Raises :class:`PictureError` before work starts for files that
    cannot be read or written, and later for clips that turn out damaged.
    """
    parts = open_parts(source, target, decisive)
    restore_segments(chain, parts, len(_finished(parts.folder)), progress=progress)
    return join_parts(parts)


def parts_folder(target: Path) -> Path:
    """Return the folder in which the segments of a clip lie until it is whole."""
    return target.with_name(f".{target.name}.parts")


def judged_segments(folder: Path) -> int:
    """Return how many segments have been judged without a gap from the first one on: their memories lie in the folder."""
    count = 0
    while _memory(folder, count).is_file():
        count += 1
    return count


def open_parts(source: Path, target: Path, decisive: dict[str, str]) -> Parts:
    """Check source and target, and make the folder of segments; arguments and errors as for :func:`restore_clip`."""
    clip = read_clip(source)
    encoding, left_out = check_target(clip, target)
    folder = parts_folder(target)
    _prepare(folder, clip, encoding, decisive)
    return Parts(clip, encoding, target, folder, tuple(left_out))


def restore_segments(
    chain: Chain, parts: Parts, first: int, stop: int | None = None, progress: ClipProgress | None = None
) -> None:
    """Restore the segments from ``first`` up to ``stop``, or to the end of the clip.

    The memory of the segment before ``first`` must lie in the folder.
    """
    shot = _shot_before(parts.folder, first)
    results = _restored(chain, shot, parts, first * FRAMES, progress or (lambda done, total, preview: None))
    for number in itertools.count(first) if stop is None else range(first, stop):
        block = itertools.islice(results, FRAMES)
        start = next(block, None)
        if start is None:
            return
        _write_segment(parts, itertools.chain([start], block), number)


def remember_segments(chain: Chain, parts: Parts) -> int:
    """Judge all frames of a clip in their order, write what is remembered after each segment, and return the number of segments.

    Any segments can then be restored at the same time, each from the memory of the one before, as if they had been restored one
    after the other. A run that was stopped goes on behind the last memory.
    """
    count = judged_segments(parts.folder)
    shot = _shot_before(parts.folder, count)
    frames = 0
    for frames, (_, _, picture) in enumerate(_pictures(parts, count * FRAMES), 1):
        *_, shot = look(chain, shot, picture)
        if frames % FRAMES == 0:
            _write_memory(shot, parts.folder, count)
            count += 1
    if frames % FRAMES:
        _write_memory(shot, parts.folder, count)
        count += 1
    return count


def missing_segments(parts: Parts, count: int) -> list[int]:
    """Return the numbers of those of the first ``count`` segments that are not restored yet."""
    return [number for number in range(count) if not _segment(parts.folder, number).is_file()]


def join_parts(parts: Parts) -> ClipReport:
    """Write all segments and the source's other streams into the target, which appears whole or not at all, delete the folder of
    segments, and return the report. Raises :class:`PictureError` where the target cannot be written.
    """
    reports = _finished(parts.folder)
    segments = [_segment(parts.folder, number) for number in range(len(reports))]
    cut_off = join_segments(parts.clip, parts.encoding, segments, parts.target)
    shutil.rmtree(parts.folder)
    return replace(joined_reports(reports), left_out=(*parts.left_out, *cut_off))


def _segment(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.segment"


def _memory(folder: Path, number: int) -> Path:
    """Return the file that holds what is remembered after a segment."""
    return _segment(folder, number).with_suffix(".safetensors")


def _shot_before(folder: Path, number: int) -> Shot:
    """Return what is remembered when a segment begins."""
    return read_shot(_memory(folder, number - 1)) if number else Shot()


def _write_memory(shot: Shot, folder: Path, number: int) -> None:
    """Write what is remembered after a segment, whole or not at all."""
    partial = folder / f"{secrets.token_hex(8)}.partial"
    write_shot(shot, partial)
    os.replace(partial, _memory(folder, number))


def _prepare(folder: Path, clip: Clip, encoding: Encoding, decisive: dict[str, str]) -> None:
    """Make the folder of segments, and empty it if what decides their result has changed."""
    stat = clip.path.stat()
    about = decisive | {"source": f"{clip.path.resolve()} {stat.st_size} {stat.st_mtime_ns}", "encoding": repr(encoding)}
    note, text = folder / "work.json", json.dumps(about)
    try:
        if note.is_file() and note.read_text(encoding="utf-8") == text:
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        note.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise PictureError(f"{folder}: cannot be written ({problem}); choose another place") from None


def _finished(folder: Path) -> list[ClipReport]:
    """Return the reports of the finished segments, up to the first that is missing."""
    found: list[ClipReport] = []
    while _segment(folder, len(found)).is_file():
        text = _segment(folder, len(found)).with_suffix(".json").read_text(encoding="utf-8")
        found.append(ClipReport(**json.loads(text)))
    return found


def _pictures(parts: Parts, start: int) -> Iterator[tuple[VideoFrame, VideoFrame, Tensor]]:
    """Yield the frames from number ``start`` on, each as decoded, in the format that is encoded, and as a picture."""
    with opened(parts.clip.path) as container:
        for decoded in itertools.islice(frames_in(container, parts.clip.path), start, None):
            frame = as_format(decoded, parts.encoding.pixel_format)
            yield decoded, frame, picture_of(frame)


def _restored(chain: Chain, shot: Shot, parts: Parts, start: int, progress: ClipProgress) -> Iterator[Result]:
    """Yield the restored frames from number ``start`` on; ``shot`` is what is remembered of those before."""
    total = parts.clip.frames
    for index, (decoded, frame, picture) in enumerate(_pictures(parts, start), start):

        def inside(done: int, whole: int, preview: Preview, index: int = index) -> None:
            progress(index, max(index, total), preview)

        result, judged, shot = restore_frame(chain, shot, picture, inside)
        report = ClipReport(1, float(judged.mean), result.tiles_total, result.tiles_run)
        shown = frame_of(result.picture, frame, picture) if result.tiles_run else frame
        shown.pts, shown.time_base = decoded.pts, decoded.time_base
        shown.pict_type = PictureType.NONE  # the encoder's own choice, not that of the source
        yield shown, report, shot
        progress(index + 1, max(index + 1, total), None)


def joined_reports(reports: Iterable[ClipReport]) -> ClipReport:
    """Return the one report for all parts of a clip, of which there must be at least one."""
    reports = list(reports)
    frames = sum(one.frames for one in reports)
    quality = sum(one.mean_quality_before * one.frames for one in reports) / frames
    return ClipReport(frames, quality, sum(one.tiles_total for one in reports), sum(one.tiles_run for one in reports))


def _write_segment(parts: Parts, results: Iterable[Result], number: int) -> None:
    """Encode frames into a segment, which appears whole or not at all, after its memory and its report."""
    path, reports, remembered = _segment(parts.folder, number), [], Shot()
    partial = path.with_suffix(f".{secrets.token_hex(8)}.partial")  # of its own: a worker thought dead may still be writing
    with segment(parts.encoding, parts.clip, partial) as container:
        stream = add_picture(container, parts.clip, parts.encoding)
        for frame, report, shot in results:
            remembered = shot
            container.mux(stream.encode(frame))
            reports.append(report)
        container.mux(stream.encode(None))
    _write_memory(remembered, parts.folder, number)
    replace_file(path.with_suffix(".json"), json.dumps(asdict(joined_reports(reports))).encode())
    os.replace(partial, path)
