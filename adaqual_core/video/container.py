"""This module reads and writes clip files: their properties, their frames, and the encoder and streams of the target.

The picture is encoded as it came where an encoder for that exists: codec, pixel format (10 bit too), matrix, range, primaries,
transfer, aspect ratio, rotation, frame rate and time base. Everything else is copied without decoding it: sound, subtitles,
attachments, chapters, tags. What the target's format cannot hold is refused before work starts.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.codec.codec import Codec, UnknownCodecError, find_best_pix_fmt_of_list
from av.container import Flags, InputContainer, OutputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from ..errors import PictureError
from .names import WRITTEN

_ENCODERS = {
    "h264": ("libx264", {"crf": "16"}),
    "hevc": ("libx265", {"crf": "18", "x265-params": "log-level=error:pools=none:frame-threads=1:bframes=0"}),
    "vp9": ("libvpx-vp9", {"crf": "20", "row-mt": "0"}),
    "av1": ("libsvtav1", {"crf": "22", "preset": "6"}),
    "ffv1": ("ffv1", {}),
    "prores": ("prores_ks", {}),
}
"""The encoder for each codec, with options that lose next to nothing (x264's 16 is hard to tell from the source)."""

_UNSPECIFIED, _BT709, _BT601 = 2, 1, 6
_OWN_TAGS = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration")


@dataclass(frozen=True)
class Clip:
    """This class holds what is known of a clip before it is decoded.

    ``width`` and ``height`` in px; ``rate`` in frames per second; ``time_base`` in seconds; ``frames``: their number as far as
    the file tells, 0 if it does not; ``rotation``: degrees counter-clockwise that players turn it by; ``colours``: range, matrix,
    primaries and transfer as FFmpeg numbers them.
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
    rotation: int
    colours: tuple[int, int, int, int]


@dataclass(frozen=True)
class Encoding:
    """This class says how the pictures of a clip are encoded: FFmpeg's names of encoder and pixel format, and the encoder's
    options.
    """

    encoder: str
    pixel_format: str
    options: dict[str, str]


def opened(path: Path) -> InputContainer:
    """Open the clip at ``path`` for reading; raises :class:`PictureError`."""
    if not path.is_file():
        raise PictureError(f"{path}: no such file; give the path of a clip")
    try:
        return av.open(str(path))
    except (FFmpegError, OSError) as problem:
        raise PictureError(f"{path}: not a clip that can be read ({problem}); get the file again") from None


def main_stream(container: InputContainer) -> VideoStream:
    """Return the stream that holds the moving picture, which is the first that is not a cover; raises :class:`PictureError` where
    there is none.
    """
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
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
            first.rotation,
            (context.color_range, context.colorspace, context.color_primaries, context.color_trc),
        )


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


def last_duration(source: InputContainer) -> Fraction:
    """Return how long the last frame is shown, in seconds, or 0 if the file does not tell."""
    stream = main_stream(source)
    shown = [(packet.pts, packet.duration or 0) for packet in source.demux(stream) if packet.pts is not None]
    return max(shown)[1] * time_base_of(source) if shown else Fraction(0)


def choose_encoding(clip: Clip, target: Path) -> Encoding:
    """Return the encoding of the clip's own codec, or the nearest one that the target's format can hold; raises
    :class:`PictureError`.
    """
    with written(target) as container:
        for codec in dict.fromkeys((clip.codec, "h264", "vp9")):
            if codec not in _ENCODERS:
                continue
            name, options = _ENCODERS[codec]
            try:
                formats = [one.name for one in Codec(name, "w").video_formats or ()]
                container.add_stream(name)
            except (ValueError, UnknownCodecError):
                continue
            return Encoding(name, _nearest(clip.pixel_format, formats), options)
    raise PictureError(f"{target}: no encoder for it here; install the package av from its own wheels, or write .mkv")


def _nearest(wanted: str, offered: list[str]) -> str:
    """Return the pixel format ``wanted`` if it is offered, otherwise the one of those ``offered`` that loses least of it."""
    found, _ = find_best_pix_fmt_of_list(offered, wanted)
    return wanted if found is None else found.name


def written(target: Path, partial: Path | None = None) -> OutputContainer:
    """Open a container of the target's format for writing into ``partial``, or into ``target`` itself without one. No file
    appears before the first packet.
    """
    kind = WRITTEN[target.suffix.lower()]
    options = {"movflags": "use_metadata_tags+faststart"} if kind in ("mp4", "mov") else {}
    container = av.open(str(partial or target), "w", format=kind, container_options=options)
    container.flags |= Flags.bitexact.value  # without random identifiers: the same work gives the same file
    return container


def add_picture(container: OutputContainer, clip: Clip, encoding: Encoding) -> VideoStream:
    """Add the stream of the moving picture to a container that is open for writing, and return it.

    No frame is predicted from a later one (no B-frames), so that segments that were encoded separately follow each other without
    gaps; one thread encodes, so that the result does not depend on the machine.
    """
    stream = container.add_stream(encoding.encoder, rate=clip.rate, options=dict(encoding.options))
    if not isinstance(stream, VideoStream):
        raise ValueError(f"encoder: '{encoding.encoder}' encodes no moving pictures; give one of {', '.join(_ENCODERS)}")
    stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, encoding.pixel_format
    context = stream.codec_context
    context.time_base, context.max_b_frames, context.thread_count = clip.time_base, 0, 1
    stream.time_base = clip.time_base
    context.color_range, context.colorspace, context.color_primaries, context.color_trc = clip.colours
    if clip.aspect:
        context.sample_aspect_ratio = clip.aspect
    if clip.rotation:
        if not hasattr(stream, "set_display_rotation"):
            raise PictureError(f"{clip.path}: is turned by {clip.rotation}°, which this version of av cannot write; update av")
        stream.set_display_rotation(clip.rotation)
    return stream


def copied_streams(source: InputContainer, container: OutputContainer, target: Path) -> tuple[dict[int, Stream], list[str]]:
    """Add to ``container`` a stream for each one of ``source`` but the moving picture. Return the new streams by the source's
    index, and one line for each that had to be left out.

    Sound, subtitles and covers that the format cannot hold raise :class:`PictureError`; data streams (time code, telemetry) are
    left out and named.
    """
    found, left_out, main = {}, [], main_stream(source)
    for stream in source.streams:
        if stream.index == main.index:
            continue
        codec = stream.codec_context.name if stream.codec_context is not None else "unknown"
        try:
            if stream.type in ("data", "unknown"):
                raise ValueError("not a kind of stream that formats share")
            copy = container.add_stream_from_template(stream, opaque=True)
        except (ValueError, FFmpegError):
            if stream.type in ("audio", "subtitle", "video"):
                raise PictureError(f"{target}: cannot hold the source's {stream.type} ({codec}); write .mkv") from None
            left_out.append(f"stream {stream.index} ({stream.type}, {codec}) is not carried over")
            continue
        copy.metadata.update(stream.metadata)
        copy.disposition = stream.disposition
        found[stream.index] = copy
    return found, left_out


def copied_tags(source: InputContainer, container: OutputContainer) -> None:
    """Copy the clip's tags and chapters, except for the tags that a format writes itself."""
    tags = {name: value for name, value in source.metadata.items() if name.lower() not in _OWN_TAGS}
    container.metadata.update(tags)
    container.set_chapters(source.chapters())


def check_target(clip: Clip, target: Path) -> tuple[Encoding, list[str]]:
    """Return how the clip will be encoded, and one line for each stream that will be left out. Raises :class:`PictureError`
    unless ``target`` can be written and can hold the clip.
    """
    if target.suffix.lower() not in WRITTEN:
        raise PictureError(f"{target}: clips are written as {', '.join(WRITTEN)}; end the name in one of these")
    if target.is_dir():
        raise PictureError(f"{target}: is a folder; give the name of a file")
    if target.exists() and not os.access(target, os.W_OK):
        raise PictureError(f"{target}: is write-protected; write to another place")
    if target.resolve() == clip.path.resolve():
        raise PictureError(f"{target}: would replace the input; write to another place")
    encoding = choose_encoding(clip, target)
    with opened(clip.path) as source, written(target) as container:
        return encoding, copied_streams(source, container, target)[1]
