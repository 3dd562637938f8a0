"""This module handles what a picture file carries beside its pixels, read from any format and handed to any other that can hold
it.
"""

import struct
from dataclasses import dataclass, fields, replace

from PIL import Image, ImageFile, PngImagePlugin
from PIL.TiffImagePlugin import TiffImageFile

from .containers import read_png_chunks
from .exif import EXIF_IFD, GPS_IFD, upright_exif, upright_xmp
from .formats import Format
from .header import Header

_XMP_HEAD, _XMP_MORE = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_XMP_TEXT = "XML:com.adobe.xmp"
_COLOUR_CHUNKS = (b"cHRM", b"gAMA", b"sRGB", b"cICP")
_TIFF_XMP, _TIFF_IPTC, _TIFF_PHOTOSHOP = 700, 33723, 34377
_TIFF_DESCRIPTIONS = (269, 270, 271, 272, 285, 305, 306, 315, 316, 18246, 18249, 33432, *range(40091, 40096))
"""Tags of TIFF that describe the picture, not the layout of the file: name, description, maker, software, date, artist…"""

_NAMES = {"profile": "colour profile", "exif": "EXIF", "xmp": "XMP", "dpi": "resolution", "text": "text", "comment": "comment"}


@dataclass(frozen=True)
class Metadata:
    """This class holds what a file carries beside the pixels, for the upright picture.

    ``profile``: ICC profile of the pixels as they are read. ``exif``: from its TIFF header on. ``xmp``: the packet. ``dpi``:
    across and down. ``text``: keys and values of PNG. ``segments``: JPEG segments of IPTC and long XMP, with their marker.
    ``chunks``: PNG chunks that say what the colours mean. ``tags``: TIFF's IPTC and Photoshop blocks. ``unreadable``: names of
    parts that are too damaged to be carried on, or do not fit the pixels.
    """

    profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: tuple[tuple[str, str], ...] = ()
    comment: bytes | None = None
    segments: tuple[bytes, ...] = ()
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    tags: tuple[tuple[int, bytes], ...] = ()
    unreadable: tuple[str, ...] = ()


def _profile(file: ImageFile.ImageFile, channels: int) -> bytes | None:
    """Return the ICC profile if it is one for the grey or RGB that is read of the file, otherwise nothing."""
    profile = file.info.get("icc_profile")
    return profile if profile and profile[16:20] == (b"GRAY" if channels < 3 else b"RGB ") else None


def _exif(file: ImageFile.ImageFile) -> bytes:
    """Return the EXIF block from its TIFF header on, which is empty where there is none."""
    if file.format == "TIFF":
        source, exif = file.getexif(), Image.Exif()
        for tag in _TIFF_DESCRIPTIONS:
            if tag in source:
                exif[tag] = source[tag]
        for tag in (EXIF_IFD, GPS_IFD):
            if inner := {key: value for key, value in source.get_ifd(tag).items() if key != 0xA005}:  # a place in the old file
                exif[tag] = inner
        block = exif.tobytes() if len(exif) else b""
    elif file.format == "PNG" and "exif" not in file.info:
        exif = file.getexif()  # some programs keep EXIF in a text chunk
        block = exif.tobytes() if "Raw profile type exif" in file.info and len(exif) else b""
    else:
        block = file.info.get("exif") or b""
    return block.removeprefix(b"Exif\0\0")


def _tag_bytes(file: TiffImageFile, tag: int) -> bytes | None:
    """Return the bytes of a TIFF's tag, of which some programs make a list of numbers."""
    found = file.tag_v2.get(tag)
    if found is None:
        return None
    values = found if isinstance(found, tuple) else (found,)
    if all(isinstance(value, bytes) for value in values):
        return b"".join(values)
    if all(isinstance(value, int) for value in values):
        order, kind = "<" if file.tag_v2.prefix == b"II" else ">", "B" if max(values) < 256 else "I"
        return struct.pack(f"{order}{len(values)}{kind}", *values)
    return None


def _xmp(file: ImageFile.ImageFile) -> bytes | None:
    found = file.info.get("xmp") or file.info.get(_XMP_TEXT)
    if isinstance(file, TiffImageFile):
        found = _tag_bytes(file, _TIFF_XMP)
    for name, data in getattr(file, "applist", ()):
        if name == "APP1" and data.startswith(_XMP_HEAD):
            found = data.removeprefix(_XMP_HEAD)
    if isinstance(found, str):
        found = found.encode()
    return upright_xmp(found) if isinstance(found, bytes) and found else None


def _dpi(file: ImageFile.ImageFile, orientation: int) -> tuple[float, float] | None:
    stated = 282 in file.tag_v2 if isinstance(file, TiffImageFile) else True
    if file.format in ("JPEG", "MPO"):
        stated = file.info.get("jfif_unit") in (1, 2)
    found = file.info.get("dpi")
    if not found or not stated or not all(0 < float(value) < 1e6 for value in found):
        return None
    across, down = (float(value) for value in found)
    return (down, across) if orientation in (5, 6, 7, 8) else (across, down)


def _text(file: ImageFile.ImageFile) -> tuple[tuple[str, str], ...]:
    left_out = (_XMP_TEXT, "Raw profile type exif", "Comment")
    return tuple((key, value) for key, value in getattr(file, "text", {}).items() if key not in left_out)


def _segments(file: ImageFile.ImageFile) -> tuple[bytes, ...]:
    kept = [
        (b"\xff\xed" if name == "APP13" else b"\xff\xe1", data)
        for name, data in getattr(file, "applist", ())
        if (name == "APP13" and data.startswith(b"Photoshop 3.0\0")) or (name == "APP1" and data.startswith(_XMP_MORE))
    ]
    return tuple(marker + (len(data) + 2).to_bytes(2, "big") + data for marker, data in kept)


def _tags(file: ImageFile.ImageFile) -> tuple[tuple[int, bytes], ...]:
    if not isinstance(file, TiffImageFile):
        return ()
    found = ((tag, _tag_bytes(file, tag)) for tag in (_TIFF_IPTC, _TIFF_PHOTOSHOP))
    return tuple((tag, value) for tag, value in found if value)


def _chunks(file: ImageFile.ImageFile, header: Header) -> tuple[tuple[bytes, bytes], ...]:
    if file.format != "PNG":
        return ()
    with header.path.open("rb") as again:  # Pillow closes a PNG as soon as it is decoded
        return tuple(read_png_chunks(again, _COLOUR_CHUNKS))


def read_metadata(file: ImageFile.ImageFile, header: Header) -> Metadata:
    """Return what the opened ``file`` carries at the frame or page at which it stands.

    A PNG must be decoded before, because text may follow its pixels. A TIFF must not be, because Pillow closes it then.
    """
    block = _exif(file)
    exif, profile = upright_exif(block, header.orientation), _profile(file, header.channels)
    unreadable = ["damaged EXIF"] if block and exif is None else []
    if file.info.get("icc_profile") and profile is None and file.mode not in ("CMYK", "LAB"):  # of these the header says more
        unreadable.append("a colour profile that is damaged or not for such pixels")
    comment = file.info.get("comment") or getattr(file, "text", {}).get("Comment")
    return Metadata(
        profile=profile,
        exif=exif,
        xmp=_xmp(file),
        dpi=_dpi(file, header.orientation),
        text=_text(file),
        comment=comment.encode() if isinstance(comment, str) else comment or None,
        segments=_segments(file),
        chunks=_chunks(file, header),
        tags=_tags(file),
        unreadable=tuple(unreadable),
    )


def for_format(metadata: Metadata, target: Format) -> tuple[Metadata, tuple[str, ...]]:
    """Return what the format ``target`` holds of the metadata, and the names of what it does not."""
    lost = {field.name for field in fields(metadata) if field.name in _NAMES and field.name not in target.holds}
    if target.name == "JPEG":  # a segment of a JPEG holds 64 kB
        lost |= {name for name in ("exif", "xmp", "comment") if len(getattr(metadata, name) or b"") > 65000}
    empty = {"text": ()}
    names = [*metadata.unreadable, *(_NAMES[name] for name in _NAMES if name in lost and getattr(metadata, name))]
    if metadata.segments and target.name != "JPEG" or metadata.tags and target.name != "TIFF":
        names.append("IPTC")
    if target.name != "PNG" and not metadata.profile and unusual_colours(metadata):
        names.append("the meaning of its colours (gAMA, cHRM or cICP)")
    return replace(metadata, **{name: empty.get(name) for name in lost}), tuple(names)


def unusual_colours(metadata: Metadata) -> bool:
    """Return whether PNG chunks state other colours than sRGB."""
    stated = dict(metadata.chunks)
    return b"sRGB" not in stated and (b"cICP" in stated or stated.get(b"gAMA", b"\0\0\xb1\x8f") != b"\0\0\xb1\x8f")


def png_text(metadata: Metadata) -> PngImagePlugin.PngInfo:
    """Return the text, comment, XMP and the meaning of the colours as the chunks of a PNG."""
    found = PngImagePlugin.PngInfo()
    for kind, data in metadata.chunks:
        found.add(kind, data)
    for key, value in metadata.text:
        if isinstance(value, PngImagePlugin.iTXt):
            found.add_itxt(key, value, value.lang or "", value.tkey or "")
        else:
            found.add_text(key, value)
    if metadata.comment:
        try:
            found.add_text("Comment", metadata.comment.decode("utf-8"))
        except UnicodeDecodeError:
            found.add_text("Comment", metadata.comment.decode("latin-1"))
    if metadata.xmp:
        found.add_itxt(_XMP_TEXT, metadata.xmp.decode("utf-8", "replace"))
    return found


def save_options(metadata: Metadata, target: Format) -> dict:
    """Return the options that make Pillow write what :func:`for_format` left; TIFF is written by :mod:`tiff`."""
    options: dict = {"icc_profile": metadata.profile} if metadata.profile else {}
    if metadata.exif:
        options["exif"] = b"Exif\0\0" + metadata.exif
    if metadata.dpi:
        options["dpi"] = metadata.dpi
    if target.name == "PNG":
        return options | {"pnginfo": png_text(metadata)}
    if target.name == "JPEG":
        packet = _XMP_HEAD + metadata.xmp if metadata.xmp else b""
        extra = b"\xff\xe1" + (len(packet) + 2).to_bytes(2, "big") + packet if packet else b""
        options["extra"] = extra + b"".join(metadata.segments)
    elif metadata.xmp:
        options["xmp"] = metadata.xmp
    if metadata.comment:
        options["comment"] = metadata.comment
    return options
