"""Restoring a clip file in segments, so that a killed run goes on where it was.

Each segment of 48 frames is encoded into a file of its own beside the target and is renamed when it is whole; what is remembered
of its shot lies beside it. A run that finds whole segments of the same work goes on behind them. At the end the segments'
packets and the source's other streams are written into the target, which appears whole or not at all. Memory does not depend on
the clip's length.
"""

import heapq
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
from av import VideoFrame
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.frame import PictureType

from ..errors import PictureError
from ..sampling.settings import Preview
from .clip import Chain, Shot, read_shot, restore_frame, write_shot
from .container import (
    Clip,
    Encoding,
    add_picture,
    check_target,
    copied_streams,
    copied_tags,
    frames_in,
    last_duration,
    opened,
    read_clip,
    written,
)
from .pixels import as_format, frame_of, picture_of

FRAMES = 48
"""Frames of a segment: what a killed run loses at most."""

ClipProgress = Callable[[int, int, Preview | None], None]
"""Called with the number of finished frames, the number of frames of the clip as far as it is known, and a preview of the frame
that is being restored, None when one is finished."""


@dataclass(frozen=True)
class ClipReport:
    """What was done to a clip: number of frames, mean quality found before (1 to 5), 64 px tiles in all and run, and a line for
    each stream that could not be carried over."""

    frames: int
    mean_quality_before: float
    tiles_total: int
    tiles_run: int
    left_out: tuple[str, ...] = ()


Result = tuple[VideoFrame, ClipReport, Shot]
"""A restored frame with its time stamp, what was done to it, and what is remembered for the frame after it."""


def restore_clip(
    chain: Chain, source: Path, target: Path, work: dict[str, str], progress: ClipProgress | None = None
) -> ClipReport:
    """Restore the clip ``source`` into the file ``target``.

    ``work`` says in words what else decides the result (model, settings): segments of other work are thrown away. What
    ``progress`` raises ends the run, which can be continued. Raises :class:`PictureError` before work starts for files that
    cannot be read or written, and later for clips that turn out damaged.
    """
    clip = read_clip(source)
    encoding, left_out = check_target(clip, target)
    folder = target.with_name(f".{target.name}.parts")
    _prepare(folder, clip, encoding, work)
    reports = _finished(folder)
    start = sum(one.frames for one in reports)
    shot = read_shot(_segment(folder, len(reports) - 1).with_suffix(".safetensors")) if reports else Shot()
    results = _restored(chain, shot, clip, encoding, start, progress or (lambda done, total, preview: None))
    for first in results:
        block = itertools.chain([first], itertools.islice(results, FRAMES - 1))
        reports.append(_write_segment(clip, encoding, block, _segment(folder, len(reports))))
    _join(clip, encoding, folder, len(reports), target)
    shutil.rmtree(folder)
    return replace(joined_reports(reports), left_out=tuple(left_out))


def _segment(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.nut"


def _prepare(folder: Path, clip: Clip, encoding: Encoding, work: dict[str, str]) -> None:
    """Make the folder of segments; what it holds of other work goes."""
    stat = clip.path.stat()
    about = work | {"source": f"{clip.path.resolve()} {stat.st_size} {stat.st_mtime_ns}", "encoding": repr(encoding)}
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
    """The reports of the whole segments, from the first one on."""
    found: list[ClipReport] = []
    while _segment(folder, len(found)).is_file():
        text = _segment(folder, len(found)).with_suffix(".json").read_text(encoding="utf-8")
        found.append(ClipReport(**json.loads(text)))
    return found


def _restored(chain: Chain, shot: Shot, clip: Clip, encoding: Encoding, start: int, progress: ClipProgress) -> Iterator[Result]:
    """The restored frames from the one numbered ``start`` on, where ``shot`` is what is remembered of those before."""
    with opened(clip.path) as container:
        for index, decoded in enumerate(frames_in(container, clip.path)):
            if index < start:
                continue
            frame = as_format(decoded, encoding.pixel_format)
            picture = picture_of(frame)

            def inside(done: int, total: int, preview: Preview, index: int = index) -> None:
                progress(index, max(index, clip.frames), preview)

            result, prompt, shot = restore_frame(chain, shot, picture, inside)
            report = ClipReport(1, float(prompt.quality.scores.mean()), result.tiles_total, result.tiles_run)
            shown = frame_of(result.picture, frame, picture) if result.tiles_run else frame
            shown.pts, shown.time_base = decoded.pts, decoded.time_base
            shown.pict_type = PictureType.NONE  # the encoder's own choice, not that of the source
            yield shown, report, shot
            progress(index + 1, max(index + 1, clip.frames), None)


def joined_reports(reports: Iterable[ClipReport]) -> ClipReport:
    """One report for parts of a clip."""
    reports = list(reports)
    frames = sum(one.frames for one in reports)
    quality = sum(one.mean_quality_before * one.frames for one in reports) / frames
    return ClipReport(frames, quality, sum(one.tiles_total for one in reports), sum(one.tiles_run for one in reports))


def _write_segment(clip: Clip, encoding: Encoding, results: Iterable[Result], path: Path) -> ClipReport:
    """Encode frames into the segment ``path``, which appears whole or not at all, after its report and memory beside it."""
    partial, reports, remembered = path.with_suffix(".partial"), [], Shot()
    with av.open(str(partial), "w", format="nut") as container:
        stream = add_picture(container, clip, encoding)
        for frame, report, shot in results:
            remembered = shot
            container.mux(stream.encode(frame))
            reports.append(report)
        container.mux(stream.encode(None))
    report = joined_reports(reports)
    write_shot(remembered, path.with_suffix(".safetensors"))
    path.with_suffix(".json").write_text(json.dumps(asdict(report)), encoding="utf-8")
    os.replace(partial, path)
    return report


def _segment_packets(folder: Path, count: int, last: Fraction) -> Iterator[Packet]:
    """The packets of the first ``count`` segments, each lasting until the next one's time, the last one for ``last`` seconds."""
    before: Packet | None = None
    for number in range(count):
        with av.open(str(_segment(folder, number))) as container:
            for packet in container.demux():
                if packet.size == 0:
                    continue
                if before is not None:
                    before.duration = packet.pts - before.pts
                    yield before
                before = packet
    if before is not None:
        before.duration = int(last / before.time_base)
        yield before


def _copied_packets(source: InputContainer, copies: dict[int, Stream]) -> Iterator[Packet]:
    """The packets of the source's other streams, each assigned to its stream in the target."""
    wanted = [stream for stream in source.streams if stream.index in copies and stream.type != "attachment"]
    for packet in source.demux(wanted) if wanted else ():
        if packet.size and (packet.dts is not None or packet.pts is not None):
            packet.stream = copies[packet.stream.index]
            yield packet


def _time(packet: Packet) -> Fraction:
    """Return when a packet is decoded, in seconds. Packets without any time stamp are never asked: they are not copied."""
    return (packet.dts if packet.dts is not None else packet.pts or 0) * packet.time_base


def _join(clip: Clip, encoding: Encoding, folder: Path, count: int, target: Path) -> None:
    """Write the first ``count`` segments and the source's other streams into ``target``, whole or not at all."""
    partial = folder / f"joined{target.suffix}"
    with opened(clip.path) as source:
        last = last_duration(source)
    try:
        with opened(clip.path) as source, written(target, partial) as container:
            stream = add_picture(container, clip, encoding)
            copies, _ = copied_streams(source, container, target)
            copied_tags(source, container)
            pictures = _segment_packets(folder, count, last)

            def assigned() -> Iterator[Packet]:
                for packet in pictures:
                    packet.stream = stream
                    yield packet

            for packet in heapq.merge(assigned(), _copied_packets(source, copies), key=_time):
                container.mux(packet)
        os.replace(partial, target)
    except (OSError, FFmpegError) as problem:
        raise PictureError(f"{target}: cannot be written ({problem}); choose another place or .mkv") from None
