"""This module reads what Pillow does not show of files: a PNG's chunks, whether a WebP is lossless, bits of AVIF and PPM, where a
page begins.
"""

import re
import struct
from collections.abc import Iterator
from typing import IO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
"""The first bytes of every PNG."""


def png_chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind, the place of the data and the length of the data of each chunk of a PNG, up to IEND or to the end of the
    file.
    """
    position = len(SIGNATURE)
    while True:
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        yield kind, position + 8, length
        if kind == b"IEND":
            return
        position += 12 + length


def read_png_chunks(file: IO[bytes], kinds: tuple[bytes, ...], most: int = 2**24) -> list[tuple[bytes, bytes]]:
    """Return the kind and the data of the chunks of these kinds, without those of more than ``most`` bytes."""
    found = []
    for kind, place, length in png_chunks(file):
        if kind in kinds and length <= most:
            file.seek(place)
            found.append((kind, file.read(length)))
    return found


def is_lossless_webp(file: IO[bytes]) -> bool:
    """Return whether every picture in a WebP is stored without loss (VP8L; WebP Container Specification)."""
    file.seek(8)
    if file.read(4) != b"WEBP":
        return False
    kinds, position = set(), 12
    while True:
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return kinds == {b"VP8L"}
        kind, length = struct.unpack("<4sI", head)
        if kind in (b"VP8 ", b"VP8L"):
            kinds.add(kind)
        position += 8 + 16 if kind == b"ANMF" else 8 + length + (length & 1)


def avif_bits(file: IO[bytes]) -> int:
    """Return the bits per channel of an AVIF, by its AV1 configuration box (AV1 Codec ISO Media File Format Binding, section
    2.3.3).
    """
    file.seek(0)
    start = file.read(2**16)
    place = start.find(b"av1C")
    if place < 0 or place + 7 > len(start):
        return 8
    flags = start[place + 6]
    return 8 if not flags & 0x40 else 12 if flags & 0x20 else 10


def ppm_top(file: IO[bytes]) -> int:
    """Return the largest value of a PPM (netpbm: the fourth word of its header)."""
    file.seek(0)
    words = re.sub(rb"#[^\r\n]*", b" ", file.read(2**12)).split(maxsplit=4)
    return int(words[3]) if len(words) > 3 and words[3].isdigit() else 255


def tiff_with_first_page(data: bytes, page: int) -> bytes:
    """Return the classic TIFF ``data`` whose header points to the page of this number, 0 the first; ValueError where it
    has none.
    """
    order = "<" if data[:2] == b"II" else ">"
    (place,) = struct.unpack_from(f"{order}I", data, 4)
    try:
        for _ in range(page):
            (count,) = struct.unpack_from(f"{order}H", data, place)
            (place,) = struct.unpack_from(f"{order}I", data, place + 2 + 12 * count)
    except struct.error:
        raise ValueError(f"page {page + 1} is cut off") from None
    return data[:4] + struct.pack(f"{order}I", place) + data[8:]
