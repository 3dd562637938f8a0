"""This module writes restored clips: it chooses the encoder of the pictures, and copies everything else that the source holds.

The picture is encoded as it came where an encoder for that exists: codec, pixel format (10 bit too), matrix, range, primaries,
transfer, aspect ratio, rotation, frame rate and time base. Everything else is copied without decoding it: sound, subtitles,
covers, attachments, chapters, tags. What the target's format cannot hold is refused before work starts.
"""

import io
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
from av.codec.codec import Codec, PixFmtLoss, UnknownCodecError, find_best_pix_fmt_of_list
from av.container import Flags, InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.format import VideoFormat
from av.video.stream import VideoStream

from ..errors import PictureError
from .container import Clip, is_cover, main_stream, opened
from .names import WRITTEN
from .pixels import has_alpha

_ENCODERS = {
    "h264": ("libx264", {"crf": "16"}),
    "hevc": ("libx265", {"crf": "18", "x265-params": "log-level=error:pools=none:frame-threads=1:bframes=0"}),
    "vp9": ("libvpx-vp9", {"crf": "20", "row-mt": "0"}),
    "av1": ("libsvtav1", {"crf": "22", "preset": "6"}),
    "ffv1": ("ffv1", {}),
    "prores": ("prores_ks", {}),
}
"""The encoder for each codec, with options that lose next to nothing (x264's 16 is hard to tell from the source)."""

_OPAQUE = ("vp9", "hevc")
"""Codecs whose encoders take transparency, though it gets lost here: it does not lie in the packets that segments hold."""

_LOSSES = {
    PixFmtLoss.RESOLUTION: "resolution of colour",
    PixFmtLoss.DEPTH: "bits",
    PixFmtLoss.ALPHA: "transparency",
    PixFmtLoss.CHROMA: "colour",
}
"""What pixels can lose in another format, with its name for the user."""

_OWN_TAGS = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration")
_TRIED = 100
"""So many packets of sound and other streams are written for trial before work starts: some formats refuse only these."""

_MIME_TYPES = {"mjpeg": "image/jpeg", "png": "image/png", "bmp": "image/bmp", "gif": "image/gif"}


@dataclass(frozen=True)
class Encoding:
    """This class says how the pictures of a clip are encoded: FFmpeg's names of encoder and pixel format, and the encoder's
    options.
    """

    encoder: str
    pixel_format: str
    options: dict[str, str]


def choose_encoding(clip: Clip, target: Path) -> Encoding:
    """Return the encoding of the clip's own codec, or the nearest one that the target's format can hold.

    Every encoder is tried out on the clip's size, because some take only even numbers of rows. Raises :class:`PictureError`
    where none can be used.
    """
    for codec in dict.fromkeys((clip.codec, "h264", "vp9")):
        if codec not in _ENCODERS:
            continue
        name, options = _ENCODERS[codec]
        try:
            formats = [one.name for one in Codec(name, "w").video_formats or () if codec not in _OPAQUE or not has_alpha(one)]
            encoding = Encoding(name, _nearest(clip.pixel_format, formats), options)
            for container in (_opened(io.BytesIO(), WRITTEN[target.suffix.lower()], {}), segment(encoding, clip, io.BytesIO())):
                with container:
                    add_picture(container, clip, encoding)
                    container.start_encoding()
        except (ValueError, UnknownCodecError, FFmpegError):
            continue
        return encoding
    raise PictureError(f"{target}: no encoder for it here; install the package av from its own wheels, or write .mkv")


def _nearest(wanted: str, offered: list[str]) -> str:
    """Return the pixel format ``wanted`` if it is offered, otherwise the one of those ``offered`` that loses least of it."""
    found, _ = find_best_pix_fmt_of_list(offered, wanted, has_alpha(VideoFormat(wanted)))
    return wanted if found is None else found.name


def written(source: InputContainer, target: Path, file: Path | io.BytesIO) -> OutputContainer:
    """Open a container of the format that ``target`` names, to write into ``file`` what becomes of ``source``.

    No file appears before the first packet. FFmpeg's MP4 holds either a cover or tags of any name: a cover counts more.
    """
    kind, flags = WRITTEN[target.suffix.lower()], []
    if kind == "mov" or (kind == "mp4" and not any(map(is_cover, source.streams))):
        flags.append("use_metadata_tags")
    if isinstance(file, Path):
        flags.append("faststart")  # the index is moved to the front, which needs a file
    return _opened(file, kind, {"movflags": "+".join(flags)} if kind in ("mp4", "mov") and flags else {})


def segment(encoding: Encoding, clip: Clip, file: Path | io.BytesIO) -> OutputContainer:
    """Open a container for a segment of the clip, for writing. Its time stamps are exact.

    NUT holds the pictures of all encoders here but ProRes, which goes into MOV.
    """
    if encoding.encoder != "prores_ks":
        return _opened(file, "nut", {})
    return _opened(file, "mov", {"movie_timescale": str(clip.time_base.denominator)})


def _opened(file: Path | io.BytesIO, kind: str, options: dict[str, str]) -> OutputContainer:
    place = str(file) if isinstance(file, Path) else file
    container = av.open(place, "w", format=kind, container_options=options)
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
    if clip.display is not None:
        stream.set_display_matrix(clip.display)
    return stream


def copied_streams(source: InputContainer, container: OutputContainer, target: Path) -> tuple[dict[int, Stream], list[str]]:
    """Add to ``container`` a stream for each one of ``source`` but the moving picture. Return the new streams by the source's
    index, and one line for each that is left out, or copied though it is a picture.

    Sound and subtitles that the format cannot hold raise :class:`PictureError`; covers that it cannot hold and data streams (time
    code, telemetry) are left out and named. Covers become attachments in Matroska, which knows no others.
    """
    found, told, main = {}, [], main_stream(source)
    for stream in source.streams:
        if stream.index == main.index:
            continue
        codec = stream.codec_context.name if stream.codec_context is not None else "unknown"
        cover = is_cover(stream)
        if cover and container.format.name == "matroska" and codec in _MIME_TYPES:
            _attach_cover(Path(source.name), stream, container, codec)
            continue
        try:
            if stream.type in ("data", "unknown") or (cover and container.format.name == "mov"):
                raise ValueError("not a kind of stream that formats share")
            copy = container.add_stream_from_template(stream, opaque=True)
        except (ValueError, FFmpegError):
            if stream.type in ("audio", "subtitle", "video") and not cover:
                raise PictureError(
                    f"{target}: cannot hold the source's {stream.type} ({codec}); write {_other(target)}"
                ) from None
            told.append(f"stream {stream.index} ({stream.type}, {codec}) is not carried over")
            continue
        if stream.type == "video" and not cover:
            told.append(f"stream {stream.index} (video, {codec}) is a second picture: it is copied, not restored")
        copy.metadata.update(stream.metadata)
        copy.disposition = stream.disposition
        found[stream.index] = copy
    return found, told


def _attach_cover(path: Path, stream: Stream, container: OutputContainer, codec: str) -> None:
    """Attach the picture of the cover ``stream`` of the file at ``path`` to a Matroska file."""
    with opened(path) as again:
        data = next((bytes(packet) for packet in again.demux(again.streams[stream.index]) if packet.size), None)
    if data:
        kind = stream.metadata.get("mimetype", _MIME_TYPES[codec])
        container.add_attachment(stream.metadata.get("filename", f"cover.{kind.rpartition('/')[2]}"), kind, data)


def _other(target: Path) -> str:
    """Return the end of a name under which a clip may be written that ``target`` cannot hold."""
    return ".mov" if target.suffix.lower() == ".mkv" else ".mkv"


def copied_packets(source: InputContainer, copies: dict[int, Stream]) -> Iterator[Packet]:
    """Yield the packets of the source's other streams, each assigned to its stream in the target.

    Packets without a time stamp cannot be written and are left out, except for covers.
    """
    wanted = [stream for stream in source.streams if stream.index in copies and stream.type != "attachment"]
    for packet in source.demux(wanted) if wanted else ():
        if packet.size == 0:
            continue
        if packet.dts is None and packet.pts is None:
            if not is_cover(packet.stream):
                continue
            packet.pts = packet.dts = 0
        packet.stream = copies[packet.stream.index]
        yield packet


def copied_tags(source: InputContainer, container: OutputContainer) -> None:
    """Copy the clip's tags and chapters, except for the tags that a format writes itself."""
    tags = {name: value for name, value in source.metadata.items() if name.lower() not in _OWN_TAGS}
    container.metadata.update(tags)
    container.set_chapters(source.chapters())


def check_target(clip: Clip, target: Path) -> tuple[Encoding, list[str]]:
    """Return how the clip will be encoded, and one line for each thing that will be left out. Raises :class:`PictureError`
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
    told, copies = [], {}
    try:
        with opened(clip.path) as source, written(source, target, io.BytesIO()) as container:
            add_picture(container, clip, encoding)
            copies, told = copied_streams(source, container, target)
            copied_tags(source, container)
            container.start_encoding()
            for packet in itertools.islice(copied_packets(source, copies), _TRIED):
                container.mux(packet)
    except PictureError:
        raise
    except (ValueError, FFmpegError) as problem:
        named = [f"{copy.type} ({copy.codec_context.name})" for copy in copies.values() if copy.codec_context is not None]
        streams = ", ".join(named) or "moving picture"
        raise PictureError(f"{target}: cannot hold the source's {streams} ({problem}); write {_other(target)}") from None
    return encoding, [*clip.unkept, *_lost_pixels(clip, encoding), *told]


def _lost_pixels(clip: Clip, encoding: Encoding) -> Iterator[str]:
    """Yield a line where the format in which pixels are encoded holds less than that of the source."""
    if encoding.pixel_format == clip.pixel_format:
        return
    _, loss = find_best_pix_fmt_of_list([encoding.pixel_format], clip.pixel_format, has_alpha(VideoFormat(clip.pixel_format)))
    if names := [name for kind, name in _LOSSES.items() if kind in loss]:
        yield f"is encoded as {encoding.pixel_format}, which loses {' and '.join(names)} of its {clip.pixel_format}"
