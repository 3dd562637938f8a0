"""This module writes TIFF (TIFF 6.0): any number of pages of 8 or 16 bit or floats, with their metadata.

Pillow writes the directories. It writes no 16-bit colour itself, so the pixels are put behind each directory here.
"""

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from .metadata import Metadata
from .reading import Frame

_DEFLATE, _HORIZONTAL = 8, 2
_DESCRIPTIVE = (*range(269, 273), 285, 305, 306, 315, 316, 18246, 18249, 33432, *range(40091, 40096), 0x8769, 0x8825)


def _described(directory: ImageFileDirectory_v2, metadata: Metadata) -> None:
    """Put the metadata into a page's directory."""
    if metadata.exif:
        exif = Image.Exif()
        exif.load(b"Exif\0\0" + metadata.exif)
        for tag in _DESCRIPTIVE:
            value = exif.get_ifd(tag) if tag in (0x8769, 0x8825) else exif.get(tag)
            if isinstance(value, dict):
                value = {key: inner for key, inner in value.items() if key != 0xA005}  # a place in the old file
            if value:
                directory[tag] = value
    for tag, value in ((700, metadata.xmp), (34675, metadata.profile), *metadata.tags):
        if value:
            directory.tagtype[tag] = 1 if tag == 700 else 7  # bytes as they are
            directory[tag] = value
    if metadata.dpi:
        directory[282], directory[283] = metadata.dpi
        directory[296] = 2  # inches


def _page(frame: Frame, deflated: bool, place: int) -> tuple[bytes, int]:
    """Return a page for ``place`` of a file, and where in it the pointer to the next page lies."""
    height, width, channels = frame.pixels.shape
    kind = frame.pixels.dtype
    pixels = np.ascontiguousarray(frame.pixels, kind.newbyteorder("<"))
    directory = ImageFileDirectory_v2()
    _described(directory, frame.metadata)
    if deflated and kind != np.float32:
        pixels[:, 1:] -= pixels[:, :-1].copy()  # differences of neighbours compress better
        directory[317] = _HORIZONTAL
    data = pixels.tobytes()
    data = zlib.compress(data) if deflated else data
    directory[256], directory[257] = width, height
    directory[258] = (8 * kind.itemsize,) * channels
    directory[259] = _DEFLATE if deflated else 1
    directory[262] = 1 if channels < 3 else 2
    directory[277], directory[278] = channels, height
    directory[273], directory[279] = 0, len(data)  # Pillow makes the place count from the end of the directory
    if kind == np.float32:
        directory[339] = (3,) * channels
    if channels in (2, 4):
        directory[338] = 2  # alpha that colours are not multiplied by
    following = place + 2 + 12 * len(directory)
    return directory.tobytes(place) + data, following


def encode_tiff(frames: Sequence[Frame], deflated: bool) -> bytes:
    """Return a file with the frames' pixels and metadata as pages, compressed without loss where ``deflated``.

    Raises ValueError for more than the 4 GB that a TIFF can hold.
    """
    out, pointer = io.BytesIO(b"II*\0" + bytes(4)), 4
    for frame in frames:
        out.seek(0, io.SEEK_END)
        out.write(bytes(out.tell() % 2))
        place = out.tell()
        page, following = _page(frame, deflated, place)
        if place + len(page) >= 2**32:
            raise ValueError("a TIFF holds 4 GB at most")
        out.write(page)
        out.seek(pointer)
        out.write(struct.pack("<I", place))
        pointer = following
    return out.getvalue()
