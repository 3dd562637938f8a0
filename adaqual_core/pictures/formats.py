"""This module knows the formats of picture files that are read and written, and what each of them can hold."""

from dataclasses import dataclass
from pathlib import Path

from ..errors import PictureError


@dataclass(frozen=True)
class Format:
    """This class is a format that pictures are written in.

    ``name`` is Pillow's name for it. ``bits``: bits a channel that it holds (32 means floats). ``frames``: "one", "moving"
    (frames with durations) or "pages". ``longest``: px that a side may have at most. ``holds`` names what it carries beside the
    pixels, among "profile", "exif", "xmp", "dpi", "text" and "comment".
    """

    name: str
    suffixes: tuple[str, ...]
    alpha: bool
    bits: tuple[int, ...]
    frames: str
    longest: int
    holds: frozenset[str]


WRITTEN = (
    Format(
        "PNG",
        (".png", ".apng"),
        True,
        (8, 16),
        "moving",
        2**31 - 1,
        frozenset(("profile", "exif", "xmp", "dpi", "text", "comment")),
    ),
    Format(
        "JPEG",
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        False,
        (8,),
        "one",
        65500,
        frozenset(("profile", "exif", "xmp", "dpi", "comment")),
    ),
    Format("WEBP", (".webp",), True, (8,), "moving", 16383, frozenset(("profile", "exif", "xmp"))),
    Format("TIFF", (".tif", ".tiff"), True, (8, 16, 32), "pages", 2**31 - 1, frozenset(("profile", "exif", "xmp", "dpi"))),
    Format("BMP", (".bmp",), False, (8,), "one", 2**31 - 1, frozenset(("dpi",))),
    Format("GIF", (".gif",), True, (8,), "moving", 65535, frozenset(("comment",))),
    Format("AVIF", (".avif",), True, (8,), "moving", 65536, frozenset(("profile", "exif", "xmp"))),
)
"""The formats that are written."""

ONLY_READ = {"DIB": (".dib",), "PPM": (".ppm", ".pgm", ".pbm", ".pnm"), "TGA": (".tga",), "QOI": (".qoi",)}
"""The formats that are read but never written, with their endings."""

READ = (*(written.name for written in WRITTEN), *ONLY_READ)
"""Pillow's names of all formats that are read. Formats that run another program (EPS) or hold many things (PDF) are not."""

WITH_SIGNATURE = tuple(name for name in READ if name != "TGA")
"""The formats that can be told by a file's first bytes."""

SUFFIXES = frozenset(suffix for written in WRITTEN for suffix in written.suffixes) | frozenset(
    (".mpo", *(suffix for suffixes in ONLY_READ.values() for suffix in suffixes))
)
"""The endings of picture files, in lower case."""

RAW_SUFFIXES = frozenset(
    (
        ".3fr",
        ".arw",
        ".cr2",
        ".cr3",
        ".dng",
        ".erf",
        ".iiq",
        ".kdc",
        ".mef",
        ".mos",
        ".mrw",
        ".nef",
        ".nrw",
        ".orf",
        ".pef",
        ".raf",
        ".raw",
        ".rw2",
        ".rwl",
        ".sr2",
        ".srf",
        ".srw",
        ".x3f",
    )
)
"""The endings of a camera's raw files. Pillow takes many of them for TIFFs and finds only the preview in them."""

UNREAD_SUFFIXES = RAW_SUFFIXES | frozenset(
    (".heic", ".heif", ".hif", ".jxl", ".jp2", ".j2k", ".jxr", ".psd", ".psb", ".xcf", ".exr", ".hdr", ".svg")
)
"""The endings of other files that users take for pictures, but that are not read."""

GIVE = "PNG, JPEG, WebP, TIFF, BMP, GIF or AVIF"
"""The formats to name in a remedy."""


def format_of(path: Path) -> Format:
    """Return the format that the ending of a file's name stands for. Raises :class:`PictureError` where it is none that is
    written.
    """
    for written in WRITTEN:
        if path.suffix.lower() in written.suffixes:
            return written
    raise PictureError(f"{path}: unknown kind of file '{path.suffix}'; end the name in .png, .jpg, .webp or .tif")
