"""This module reads clip files: what a file says of itself, and its frames in the order in which they are shown."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av import VideoFrame
from av.container import InputContainer
from av.error import FFmpegError
from av.sidedata.sidedata import Type
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from ..errors import PictureError
from .pixels import has_alpha

_UNSPECIFIED, _BT709, _BT601 = 2, 1, 6

_UNKEPT = {
    Type.MASTERING_DISPLAY_METADATA: "the mastering display of HDR10",
    Type.CONTENT_LIGHT_LEVEL: "the highest light level of HDR10",
    Type.DYNAMIC_HDR_PLUS: "HDR10+",
    Type.DOVI_METADATA: "Dolby Vision",
    Type.A53_CC: "closed captions inside the picture",
}
"""These are the things that a frame can hold beside its pixels and that get lost, each with its name for the user."""


@dataclass(frozen=True)
class Clip:
    """This class holds what is known of a clip before it is decoded.

    ``width`` and ``height`` in px; ``rate`` in frames per second; ``time_base`` in seconds; ``frames``: their number as far as
    the file tells, 0 if it does not; ``display``: the nine numbers of the matrix by which players turn or mirror it, as FFmpeg
    keeps them, or None; ``colours``: range, matrix, primaries and transfer as FFmpeg numbers them; ``unkept``: a line for each
    thing in the pictures that is known to get lost.
    """

    path: Path
    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    codec: str
    pixel_format: str
    frames: int
    aspect: Fraction | None
    display: tuple[int, ...] | None
    colours: tuple[int, int, int, int]
    unkept: tuple[str, ...]


def opened(path: Path) -> InputContainer:
    """Open the clip at ``path`` for reading; raises :class:`PictureError`."""
    if not path.is_file():
        raise PictureError(f"{path}: no such file; give the path of a clip")
    try:
        return av.open(str(path))
    except (FFmpegError, OSError) as problem:
        raise PictureError(f"{path}: not a clip that can be read ({problem}); get the file again") from None


def is_cover(stream: Stream) -> bool:
    """Return whether a stream is a cover: a single picture that players show for the file."""
    return bool(stream.disposition & Disposition.attached_pic)


def main_stream(container: InputContainer) -> VideoStream:
    """Return the stream that holds the moving picture, which is the first that is not a cover; raises :class:`PictureError` where
    there is none.
    """
    for stream in container.streams.video:
        if not is_cover(stream):
            return stream
    raise PictureError(f"{container.name}: holds no moving picture; give a clip with one")


def time_base_of(container: InputContainer) -> Fraction:
    """Return the unit in seconds of the moving picture's time stamps; raises :class:`PictureError` where the file states none."""
    unit = main_stream(container).time_base
    if unit is None:
        raise PictureError(f"{container.name}: states no unit of time; rewrite the file, for example as .mkv")
    return unit


def read_clip(path: Path) -> Clip:
    """Return what the file at ``path`` says of itself and of its first frame; raises :class:`PictureError`."""
    with opened(path) as container:
        stream = main_stream(container)
        first = next(frames_in(container, path), None)
        if first is None:
            raise PictureError(f"{path}: not one frame can be decoded; get the file again")
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        count = stream.frames or int((container.duration or 0) / av.time_base * rate)
        context = stream.codec_context
        return Clip(
            path,
            first.width,
            first.height,
            Fraction(rate),
            time_base_of(container),
            context.codec.canonical_name,
            first.format.name,
            count,
            stream.sample_aspect_ratio,
            _display_of(first),
            (context.color_range, context.colorspace, context.color_primaries, context.color_trc),
            tuple(_unkept(stream, first)),
        )


def _display_of(frame: VideoFrame) -> tuple[int, ...] | None:
    """Return the matrix by which players turn or mirror a frame; None where they show it as it is."""
    matrix = frame.side_data.get(Type.DISPLAYMATRIX.name)
    return None if matrix is None else struct.unpack("9i", bytes(matrix))


def _unkept(stream: VideoStream, frame: VideoFrame) -> Iterator[str]:
    """Yield a line for each thing in the stream, whose first frame is given, that is known to get lost."""
    if frame.interlaced_frame:
        yield "is interlaced: it is restored and written as if every frame were one picture; deinterlace it first"
    if stream.metadata.get("alpha_mode") == "1" and not has_alpha(frame.format):
        yield f"its transparency ({stream.codec_context.name}) is not carried over; convert it to ProRes 4444 or FFV1 first"
    for kind, name in _UNKEPT.items():
        if frame.side_data.get(kind.name) is not None:
            yield f"{name} is not carried over"


def frames_in(container: InputContainer, path: Path) -> Iterator[av.VideoFrame]:
    """Yield the frames of the moving picture in the order in which they are shown, each with its time and matrix; raises
    :class:`PictureError`.

    A matrix that the file does not name is BT.709 from 720 rows on and BT.601 below, as players assume. A frame that is not later
    than the one before becomes later by one unit of time, because encoders refuse it otherwise.
    """
    stream = main_stream(container)
    stream.thread_type = "AUTO"
    size = time = None
    try:
        for frame in container.decode(stream):
            if frame.pts is None:
                raise PictureError(f"{path}: a frame has no time stamp; rewrite the file, for example as .mkv")
            if size not in (None, (frame.width, frame.height)):
                raise PictureError(f"{path}: changes its size to {frame.width}×{frame.height} on the way; cut it there first")
            size = (frame.width, frame.height)
            frame.pts = frame.pts if time is None else max(frame.pts, time + 1)
            time = frame.pts
            if frame.colorspace == _UNSPECIFIED:
                frame.colorspace = _BT709 if frame.height >= 720 else _BT601
            yield frame
    except FFmpegError as problem:
        raise PictureError(f"{path}: damaged or truncated ({problem}); get the file again") from None


def ends(source: InputContainer) -> tuple[Fraction, float]:
    """Return for how many seconds the last frame is shown, and by how many seconds the file is shorter than it states.

    The first is 0 where the file does not tell. The second counts all streams, and is 0 unless more than a second and 1 % of
    the stated length are missing: a file that was cut off lacks its end. The whole file is read for it.
    """
    main, last, shown, end = main_stream(source), Fraction(0), None, Fraction(0)
    for packet in source.demux():
        if packet.pts is None or packet.time_base is None:
            continue
        end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
        if packet.stream.index == main.index and (shown is None or packet.pts >= shown):
            shown, last = packet.pts, (packet.duration or 0) * packet.time_base
    stated = (source.duration or 0) / av.time_base
    missing = stated - float(end) + (source.start_time or 0) / av.time_base
    return last, missing if missing > max(1.0, 0.01 * stated) else 0.0
