"""This module joins the segments of a restored clip with everything else its source holds: sound, subtitles, chapters, tags."""

import heapq
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
from av.error import FFmpegError
from av.packet import Packet

from ..errors import PictureError
from .container import Clip, ends, opened
from .encoding import Encoding, add_picture, copied_packets, copied_streams, copied_tags, written


def join_segments(clip: Clip, encoding: Encoding, segments: Sequence[Path], target: Path) -> list[str]:
    """Write the segments and the source's other streams into ``target``, which appears whole or not at all.

    The file grows beside the segments, in the folder of the first one. Returns a line that says so where the source turned out
    to be cut off. Raises :class:`PictureError` where the target cannot be written.
    """
    partial = segments[0].with_name(f"joined{target.suffix}")
    with opened(clip.path) as source:
        last, missing = ends(source)
    try:
        with opened(clip.path) as source, written(source, target, partial) as container:
            stream = add_picture(container, clip, encoding)
            copies, _ = copied_streams(source, container, target)
            copied_tags(source, container)
            pictures = _segment_packets(segments, last)

            def assigned() -> Iterator[Packet]:
                for packet in pictures:
                    packet.stream = stream
                    yield packet

            for packet in heapq.merge(assigned(), copied_packets(source, copies), key=_time):
                container.mux(packet)
        os.replace(partial, target)
    except (OSError, FFmpegError) as problem:
        raise PictureError(f"{target}: cannot be written ({problem}); choose another place or .mkv") from None
    return [f"was cut off: {missing:.1f} s less are in it than it states; get the file again"] if missing else []


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


def _time(packet: Packet) -> Fraction:
    """Return when a packet is decoded, in seconds. Packets without any time stamp are never asked."""
    return (packet.dts if packet.dts is not None else packet.pts or 0) * packet.time_base
