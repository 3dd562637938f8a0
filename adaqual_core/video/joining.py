"""This module joins the segments of a restored clip with everything else its source holds: sound, subtitles, chapters, tags."""

import heapq
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream

from ..errors import PictureError
from .container import Clip, Encoding, add_picture, copied_streams, copied_tags, last_duration, opened, written


def join_segments(clip: Clip, encoding: Encoding, segments: Sequence[Path], target: Path) -> None:
    """Write the segments and the source's other streams into ``target``, which appears whole or not at all.

    The file grows beside the segments, in the folder of the first one. Raises :class:`PictureError` where it cannot be written.
    """
    partial = segments[0].with_name(f"joined{target.suffix}")
    with opened(clip.path) as source:
        last = last_duration(source)
    try:
        with opened(clip.path) as source, written(target, partial) as container:
            stream = add_picture(container, clip, encoding)
            copies, _ = copied_streams(source, container, target)
            copied_tags(source, container)
            pictures = _segment_packets(segments, last)

            def assigned() -> Iterator[Packet]:
                for packet in pictures:
                    packet.stream = stream
                    yield packet

            for packet in heapq.merge(assigned(), _copied_packets(source, copies), key=_time):
                container.mux(packet)
        os.replace(partial, target)
    except (OSError, FFmpegError) as problem:
        raise PictureError(f"{target}: cannot be written ({problem}); choose another place or .mkv") from None


def _segment_packets(segments: Sequence[Path], last: Fraction) -> Iterator[Packet]:
    """Yield the packets of the segments. Each lasts until the time of the next one, the last one for ``last`` seconds."""
    before: Packet | None = None
    for path in segments:
        with av.open(str(path)) as container:
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
    """Yield the packets of the source's other streams, each assigned to its stream in the target."""
    wanted = [stream for stream in source.streams if stream.index in copies and stream.type != "attachment"]
    for packet in source.demux(wanted) if wanted else ():
        if packet.size and (packet.dts is not None or packet.pts is not None):
            packet.stream = copies[packet.stream.index]
            yield packet


def _time(packet: Packet) -> Fraction:
    """Return when a packet is decoded, in seconds. Packets without any time stamp are never asked: they are not copied."""
    return (packet.dts if packet.dts is not None else packet.pts or 0) * packet.time_base
