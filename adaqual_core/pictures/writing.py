"""This module writes pictures in the format of the output's name, as the source was written: bits, grey, sampling, frames,
metadata.
"""

import io
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
from PIL import Image, JpegImagePlugin

from ..errors import PictureError
from .containers import SIGNATURE, png_chunks
from .deep import encode_16_bit_png
from .formats import Format, format_of
from .header import Encoding, Header
from .metadata import Metadata, for_format, save_options
from .reading import Frame
from .replacing import check_place, replace_file
from .tiff import encode_tiff

QUALITY = 95
"""Quality of lossy files, 1 to 100, where none is asked for; a JPEG is never written worse than its source."""


def check_output(path: Path, channels: int, height: int, width: int, frames: int = 1, moving: bool = False) -> None:
    """Raise :class:`PictureError` unless name and place of ``path`` suit a picture of this shape and number of frames."""
    path = Path(path)
    target = format_of(path)
    Image.init()
    if target.name not in Image.SAVE:
        raise PictureError(f"{path}: the installed Pillow cannot write {target.name}; update Pillow, or write .png instead")
    if channels in (2, 4) and not target.alpha:
        raise PictureError(f"{path}: {target.name} cannot hold the picture's alpha; write .png instead")
    if max(height, width) > target.longest:
        raise PictureError(f"{path}: {target.name} cannot hold a picture of {width}×{height} px; write .png instead")
    wanted = "moving" if moving else "pages"
    if frames > 1 and target.frames != wanted and not (moving and target.frames == "pages"):
        instead = ".png, .webp or .gif" if moving else ".tif"
        raise PictureError(
            f"{path}: {target.name} cannot hold the {frames} {'frames' if moving else 'pages'}; write {instead} instead"
        )
    check_place(path)


def _as_bits(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Return pixels with the bits that a format holds, rounded: 16 bit and floats to 8, floats to 16."""
    if bits == 8 * pixels.itemsize:
        return pixels
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    limit, kind = (255, np.uint8) if bits == 8 else (65535, np.uint16)
    return (pixels * np.float32(limit)).round().astype(kind)


def _as_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Return pixels [H, W, C] with as many channels or more: grey repeated, alpha opaque where there is none."""
    have = pixels.shape[2]
    if have == channels:
        return pixels
    colours = pixels[..., :1] if have < 3 else pixels[..., :3]
    if channels > 2 and have < 3:
        colours = np.repeat(colours, 3, 2)
    if channels in (1, 3):
        return colours
    top = 1 if pixels.dtype == np.float32 else np.iinfo(pixels.dtype).max
    alpha = pixels[..., -1:] if have in (2, 4) else np.full_like(pixels[..., :1], top)
    return np.concatenate((colours, alpha), 2)


def _common_channels(frames: Sequence[Frame]) -> int:
    """Return the fewest channels that hold every frame."""
    counts = {frame.pixels.shape[2] for frame in frames}
    alpha = 1 if counts & {2, 4} else 0
    return (3 if counts & {3, 4} else 1) + alpha


def _written_channels(channels: int, target: Format, bits: int) -> int:
    """Return the channels that a format is given for pictures of so many channels: colour where it, or Pillow for it, has no such
    grey.
    """
    no_grey = target.name in ("WEBP", "AVIF")
    no_grey_alpha = no_grey or target.name == "GIF" or (target.name == "TIFF" and bits > 8)
    return channels + 2 if (channels == 1 and no_grey) or (channels == 2 and no_grey_alpha) else channels


def _jpeg_options(encoding: Encoding, turned: bool, quality: int | None) -> dict:
    """Return the sampling of the source, or a finer one where Pillow cannot write the source's, and tables at least as fine as
    the source's.
    """
    sampling = encoding.subsampling or 0
    options = {"subsampling": 0 if turned and sampling == 1 else sampling, "progressive": encoding.progressive}
    if quality is not None or not encoding.tables:
        return options | {"quality": quality or QUALITY}
    trial = io.BytesIO()
    Image.new("RGB", (8, 8)).save(trial, "JPEG", quality=QUALITY)
    trial.seek(0)
    usual = [list(table) for _, table in sorted(JpegImagePlugin.JpegImageFile(trial).quantization.items())]
    theirs = [*encoding.tables, encoding.tables[-1]][:2]
    tables = [[min(a, b) for a, b in zip(ours, table, strict=True)] for ours, table in zip(usual, theirs, strict=True)]
    return options | {"qtables": tables}


def _still_options(target: Format, source: Encoding, turned: bool, quality: int | None) -> dict:
    """Return Pillow's options for how the pixels of a format are compressed."""
    if target.name == "JPEG":
        return _jpeg_options(source, turned, quality)
    if target.name == "WEBP":
        lossless = source.lossless and quality is None
        return {"lossless": True, "exact": True} if lossless else {"quality": quality or QUALITY, "exact": True}
    if target.name == "AVIF":
        return {"quality": quality or QUALITY, "subsampling": "4:4:4"}
    return {}


def _motion_options(target: Format, frames: Sequence[Frame], header: Header, alpha: bool) -> dict:
    """Return Pillow's options for the durations and repetitions of an animation."""
    whole = target.name != "PNG"
    options: dict = {"loop": header.plays, "duration": [round(frame.duration) if whole else frame.duration for frame in frames]}
    if target.name == "GIF":
        options["disposal"] = 2 if alpha else 1
        if header.plays == 1:
            del options["loop"]
        else:
            options["loop"] = max(0, header.plays - 1)
    if target.name == "PNG" and header.still_first:
        options |= {"default_image": True, "duration": options["duration"][1:]}
    if target.name == "AVIF":
        del options["loop"]
    return options


def _with_chunks(pixels: bytes, metadata: bytes) -> bytes:
    """Return the PNG ``pixels`` with the chunks of the PNG ``metadata`` that are not about its pixels."""
    parts = []
    for data, wanted in ((pixels, (b"IHDR",)), (metadata, None), (pixels, (b"IDAT", b"IEND"))):
        for kind, place, length in png_chunks(io.BytesIO(data)):
            if kind in wanted if wanted else kind not in (b"IHDR", b"IDAT", b"IEND"):
                parts.append(data[place - 8 : place + length + 4])
    return SIGNATURE + b"".join(parts)


def _with_colours(data: bytes, metadata: Metadata) -> bytes:
    """Return the PNG ``data`` with all chunks of the metadata that say what its colours mean; old versions of Pillow
    drop cICP.
    """
    there = {kind for kind, _, _ in png_chunks(io.BytesIO(data))}
    missing = [(kind, value) for kind, value in metadata.chunks if kind not in there]
    more = [struct.pack(">I", len(value)) + kind + value + struct.pack(">I", crc32(kind + value)) for kind, value in missing]
    after_header = len(SIGNATURE) + 25
    return data[:after_header] + b"".join(more) + data[after_header:]


def _encoded(frames: Sequence[Frame], target: Format, header: Header, quality: int | None, path: Path) -> bytes:
    """Return the file's bytes. The frames already have the format's bits, and hold only the metadata that it can."""
    if target.name == "TIFF":
        pages = [(frame, _written_channels(frame.pixels.shape[2], target, 8 * frame.pixels.itemsize)) for frame in frames]
        return encode_tiff(
            [replace(frame, pixels=_as_channels(frame.pixels, channels)) for frame, channels in pages], header.encoding.deflated
        )
    channels = _written_channels(_common_channels(frames), target, 8)
    arrays = [_as_channels(frame.pixels, channels) for frame in frames]
    options = save_options(frames[0].metadata, target)
    out = io.BytesIO()
    if arrays[0].dtype == np.uint16 and channels > 1:
        Image.new("L", (1, 1)).save(out, "PNG", **options)
        return _with_colours(_with_chunks(encode_16_bit_png(arrays[0], path), out.getvalue()), frames[0].metadata)
    stills = [Image.fromarray(array[..., 0] if channels == 1 else array) for array in arrays]
    options |= _still_options(target, header.encoding, header.orientation in (5, 6, 7, 8), quality)
    if len(stills) > 1:
        options |= _motion_options(target, frames, header, channels in (2, 4)) | {"save_all": True, "append_images": stills[1:]}
    stills[0].save(out, target.name, **options)
    return _with_colours(out.getvalue(), frames[0].metadata) if target.name == "PNG" else out.getvalue()


def _losses(frames: Sequence[Frame], target: Format, header: Header) -> list[str]:
    """Return what the format cannot hold of the frames' pixels, as parts of one line."""
    found = []
    for bits in sorted({8 * frame.pixels.itemsize for frame in frames} - set(target.bits)):
        found.append(f"{'floats' if bits == 32 else f'{bits} bit'} become {max(target.bits)} bit")
    if target.name == "GIF" and any(frame.pixels.shape[2] > 1 for frame in frames):
        found.append("colours become 256 a frame")
    if header.moving and target.frames == "pages":
        found.append("durations are left out")
    if any(
        _written_channels(frame.pixels.shape[2], target, 8 * frame.pixels.itemsize) > frame.pixels.shape[2] for frame in frames
    ):
        found.append("grey becomes colour channels")
    return found


def write_frames(frames: Sequence[Frame], path: Path, header: Header, quality: int | None = None) -> list[str]:
    """Write the frames of the picture that ``header`` describes to ``path``, whole or not at all.

    ``quality`` 1 to 100 for JPEG, WebP and AVIF; by default a JPEG is no worse than its source and at least of quality
    :data:`QUALITY`, and what was stored without loss becomes a lossless WebP. Returns what was lost because the format cannot
    hold it, as phrases. Raises :class:`PictureError`.
    """
    path, target = Path(path), format_of(Path(path))
    shapes = [frame.pixels.shape for frame in frames]
    heights, widths, _ = zip(*shapes, strict=True)
    check_output(path, _common_channels(frames), max(heights), max(widths), len(frames), header.moving)
    notes = _losses(frames, target, header)
    kept: list[Frame] = []
    for frame in frames:
        metadata, lost = for_format(frame.metadata, target)
        notes += [f"{name} is left out" for name in lost if f"{name} is left out" not in notes]
        bits = 8 * frame.pixels.itemsize
        pixels = _as_bits(frame.pixels, bits if bits in target.bits else max(target.bits))
        kept.append(replace(frame, pixels=pixels, metadata=metadata))
    try:
        replace_file(path, _encoded(kept, target, header, quality, path))
    except (OSError, ValueError, struct.error) as problem:
        if isinstance(problem, PictureError):
            raise
        raise PictureError(f"{path}: cannot be written ({problem}); choose another place or kind of file") from None
    return notes


def still_header(path: Path, pixels: np.ndarray) -> Header:
    """Return the header with which a still that was made here, not read, is written: without loss where the format can."""
    height, width, channels = pixels.shape
    return Header(path, "PNG", channels, 8 * pixels.itemsize, height, width, 1, 1, False, 0, False, Encoding(True), ())


def write_still(pixels: np.ndarray, path: Path, metadata: Metadata | None = None) -> None:
    """Write pixels [H, W, 1 to 4 channels] that were made here to ``path``; raises :class:`PictureError`."""
    path = Path(path)
    write_frames([Frame(pixels, 0.0, metadata or Metadata())], path, still_header(path, pixels))
