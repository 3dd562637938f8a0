"""Small clips for tests: moving squares with sound and subtitles, written through PyAV."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def pixels(index: int, height: int, width: int) -> np.ndarray:
    """Frame number ``index`` [height, width, 3], 8-bit: a square that moves over soft colours."""
    y, x = np.mgrid[:height, :width]
    frame = np.stack([60 + 100 * x / width, 80 + 60 * y / height, 120 - 50 * x / width], -1)
    left = (5 + 3 * index) % max(1, width - 12)
    frame[8:20, left : left + 12] = (200, 60, 40)
    return frame.astype(np.uint8)


def write_clip(
    path: Path,
    frames: int = 10,
    size: tuple[int, int] = (48, 64),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rate: Fraction = Fraction(24000, 1001),
    stamps: list[int] | None = None,
    time_base: Fraction | None = None,
    colours: tuple[int, int, int, int] = (1, 1, 1, 1),
    rotation: int = 0,
    sound: str | None = None,
    subtitles: Path | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """A clip of ``frames`` frames; ``stamps`` in units of ``time_base`` where the frames do not come at an even rate."""
    time_base = time_base or 1 / rate
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "squares"
        stream = container.add_stream(codec, rate=rate, options=options or {"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *size, pixel_format
        context = stream.codec_context
        context.time_base = stream.time_base = time_base
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = colours
        if rotation:
            stream.set_display_rotation(rotation)
        spoken = container.add_stream(sound, rate=48000) if sound else None
        text = None
        if subtitles is not None:
            with av.open(str(subtitles)) as source:
                text = container.add_stream_from_template(source.streams[0])
                packets = [packet for packet in source.demux() if packet.size]
            for packet in packets:
                packet.stream = text
                container.mux(packet)
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(pixels(index, *size), format="rgb24")
            frame = frame.reformat(format=pixel_format, dst_colorspace=colours[1] or None, dst_color_range=colours[0])
            frame.pts, frame.time_base = stamps[index] if stamps else index, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if spoken is not None:
            samples = (np.sin(np.arange(48000 * frames // int(rate)) / 20) * 0.3).astype(np.float32)
            wave = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            wave.sample_rate, wave.pts = 48000, 0
            container.mux(spoken.encode(wave))
            container.mux(spoken.encode(None))
    return path


def packets(path: Path, kind: str) -> list[tuple[Fraction, Fraction, bytes]]:
    """Time, duration and content of every packet of the first stream of a kind ("video", "audio" or "subtitle")."""
    with av.open(str(path)) as container:
        stream = next(one for one in container.streams if one.type == kind)
        found = [one for one in container.demux(stream) if one.size]
        return sorted((one.pts * one.time_base, one.duration * one.time_base, bytes(one)) for one in found)


def shown(path: Path) -> list[av.VideoFrame]:
    """The decoded frames of a clip."""
    with av.open(str(path)) as container:
        return list(container.decode(video=0))
