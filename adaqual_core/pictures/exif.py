"""This module keeps EXIF for a picture that is written upright: the block stays byte by byte as it was, except for what the turn
makes wrong.

Cameras store places within the block in their own notes, so writing it anew would break these.
"""

import re
import struct

ORIENTATION, EXIF_IFD, GPS_IFD = 0x0112, 0x8769, 0x8825
_WIDTH, _HEIGHT = 0xA002, 0xA003
_TURNED = (5, 6, 7, 8)


def _entries(block: bytes, order: str, place: int) -> tuple[dict[int, int], int]:
    """Return the place of each entry of the directory at ``place`` by its tag, and the place of the pointer to the next
    directory.
    """
    (count,) = struct.unpack_from(f"{order}H", block, place)
    places = [place + 2 + 12 * number for number in range(count)]
    return {struct.unpack_from(f"{order}H", block, entry)[0]: entry for entry in places}, place + 2 + 12 * count


def _number(block: bytes, order: str, entry: int) -> int:
    """Return the value of an entry that holds one SHORT or LONG."""
    (kind,) = struct.unpack_from(f"{order}H", block, entry + 2)
    return struct.unpack_from(f"{order}H" if kind == 3 else f"{order}I", block, entry + 8)[0]


def upright_exif(block: bytes, orientation: int) -> bytes | None:
    """Return the EXIF ``block`` (from its TIFF header on) of a picture that was turned upright.

    Orientation becomes 1, the stated width and height change places where the turn swapped them, and the thumbnail is unlinked,
    because it shows the picture as it was. None where the block cannot be read.
    """
    out = bytearray(block)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return None
    try:
        entries, following = _entries(block, order, struct.unpack_from(f"{order}I", block, 4)[0])
        if ORIENTATION in entries:
            struct.pack_into(f"{order}HIHH", out, entries[ORIENTATION] + 2, 3, 1, 1, 0)
        struct.pack_into(f"{order}I", out, following, 0)
        if orientation in _TURNED and EXIF_IFD in entries:
            inner, _ = _entries(block, order, _number(block, order, entries[EXIF_IFD]))
            if _WIDTH in inner and _HEIGHT in inner:
                width, height = inner[_WIDTH] + 2, inner[_HEIGHT] + 2
                out[width : width + 10], out[height : height + 10] = block[height : height + 10], block[width : width + 10]
    except struct.error:
        return None
    return bytes(out)


def upright_xmp(packet: bytes) -> bytes:
    """Return the XMP packet, with orientation 1 where it states another one."""
    return re.sub(rb"(tiff:Orientation(?:\s*=\s*[\"']|>))[2-8]", rb"\g<1>1", packet)
