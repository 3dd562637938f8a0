"""Clips that are unlike most: more streams, odd stamps, unusual codecs, cut-off files; small, and written through PyAV."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from clips import pixels

RATE = 48000


def frame_of(index: int, size: tuple[int, int], pixel_format: str, colours: Sequence[int]) -> av.VideoFrame:
    """Frame number ``index``; its upper quarter is opaque and the rest half transparent where the format holds opacity."""
    shown = pixels(index, *size)
    if "a" in pixel_format[:4]:
        opacity = np.full((*size, 1), 128, np.uint8)
        opacity[: size[0] // 4] = 255
        frame = av.VideoFrame.from_ndarray(np.concatenate([shown, opacity], -1), format="rgba")
    else:
        frame = av.VideoFrame.from_ndarray(shown, format="rgb24")
    return frame.reformat(format=pixel_format, dst_colorspace=colours[1], dst_color_range=colours[0])


def sound_of(seconds: float, codec: str) -> av.AudioFrame:
    """A tone of one channel."""
    wave = np.sin(np.arange(int(RATE * seconds)) / 20) * 0.3
    whole = codec.startswith("pcm")
    samples = (wave * 32767).astype(np.int16) if whole else wave.astype(np.float32)
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16" if whole else "fltp", layout="mono")
    frame.sample_rate, frame.pts = RATE, 0
    return frame


def write_odd(
    path: Path,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    size: tuple[int, int] = (48, 64),
    stamps: Sequence[int] = tuple(range(10)),
    time_base: Fraction = Fraction(1, 25),
    sounds: Sequence[str] = (),
    seconds: float = 0.4,
    cover: str | None = None,
    matrix: Sequence[int] | None = None,
    colours: tuple[int, int, int, int] = (1, 1, 1, 1),
    part: float = 1.0,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """A clip with a tone in each of the codecs ``sounds``, a ``cover`` (png or mjpeg), and a display ``matrix``.

    Only the first ``part`` of its bytes is kept.
    """
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=1 / time_base, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *size, pixel_format
        context = stream.codec_context
        context.time_base = stream.time_base = time_base
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = colours
        if matrix is not None:
            stream.set_display_matrix(matrix)
        tones = [container.add_stream(name, rate=RATE) for name in sounds]
        for tone, language in zip(tones, ("deu", "eng", "fra"), strict=False):
            tone.metadata["language"] = language
        if cover is not None:
            front = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 90, np.uint8), format="rgb24")
            picture = container.add_stream(cover, rate=1)
            picture.width, picture.height, picture.pix_fmt = 32, 32, "rgb24" if cover == "png" else "yuvj420p"
            picture.disposition = Disposition.attached_pic
            container.mux(picture.encode(front.reformat(format=picture.pix_fmt)))
            container.mux(picture.encode(None))
        for index, stamp in enumerate(stamps):
            frame = frame_of(index, size, pixel_format, colours)
            frame.pts, frame.time_base = stamp, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for tone, name in zip(tones, sounds, strict=True):
            container.mux(tone.encode(sound_of(seconds, name)))
            container.mux(tone.encode(None))
    if part < 1:
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * part)])
    return path


def streams_of(path: Path) -> list[tuple[str, str, str]]:
    """Kind, codec and language of every stream but the moving picture, which comes first."""
    with av.open(str(path)) as container:
        rest = list(container.streams)[1:]
        return [(one.type, one.codec_context.name, one.metadata.get("language", "und")) for one in rest]


def cover_of(path: Path) -> bytes | None:
    """The picture file that stands for a clip."""
    with av.open(str(path)) as container:
        for stream in container.streams.video:
            if stream.disposition & Disposition.attached_pic:
                return next(bytes(packet) for packet in container.demux(stream) if packet.size)
    return None
