"""This module handles pixels of 16 bit per channel beyond grey, which Pillow cuts to 8: PyAV decodes them and writes them as PNG.

PyAV comes with ComfyUI; on its own it is the package ``av``, of the extra ``adaqual[files]``.
"""

from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np

from ..errors import PictureError
from .containers import tiff_with_first_page

_PNG_LAYOUTS = {1: "gray16be", 2: "ya16be", 3: "rgb48be", 4: "rgba64be"}


def _av(path: Path) -> ModuleType:
    try:
        import av
    except ImportError:
        raise PictureError(
            f"{path}: 16-bit colour needs the package av; install it (pip install av), or give a picture of 8 bits"
        ) from None
    return av


def decode_16_bit(path: Path, codec: str, page: int = 0) -> np.ndarray:
    """Return the pixels [H, W, channels] uint16 of a PNG or of one page of a TIFF (``codec`` "png" or "tiff"), not turned
    upright.
    """
    av, data = _av(path), path.read_bytes()
    if codec == "tiff":
        if data[2:4] in (b"+\0", b"\0+"):
            raise PictureError(f"{path}: a BigTIFF of 16-bit colour; save it as an ordinary TIFF or as PNG")
        data = tiff_with_first_page(data, page)
    decoder = av.CodecContext.create(codec, "r")
    frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    if not frames:
        raise ValueError("no picture in it")
    frame = frames[0]
    name = frame.format.name
    if name.startswith("ya16"):  # PyAV makes no array of grey with alpha
        plane = frame.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)[:, : 4 * frame.width]
        return rows.copy().view(">u2" if name.endswith("be") else "<u2").reshape(frame.height, frame.width, 2).astype(np.uint16)
    pixels = frame.to_ndarray()
    if pixels.dtype != np.uint16:
        raise ValueError(f"unexpected layout {name}")
    return pixels[..., None] if pixels.ndim == 2 else pixels


def encode_16_bit_png(pixels: np.ndarray, path: Path) -> bytes:
    """Return a PNG without metadata of pixels [H, W, 1 to 4 channels] uint16; ``path`` is named in errors."""
    av = _av(path)
    height, width, channels = pixels.shape
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, _PNG_LAYOUTS[channels]
    encoder.time_base = Fraction(1, 1)
    frame = av.VideoFrame(width, height, encoder.pix_fmt)
    plane = frame.planes[0]
    rows = np.zeros((height, plane.line_size), np.uint8)
    rows[:, : 2 * channels * width] = np.ascontiguousarray(pixels, ">u2").view(np.uint8).reshape(height, -1)
    plane.update(rows)
    return b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))
