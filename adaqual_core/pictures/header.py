"""This module reads what a picture file says of itself before its pixels are decoded."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFile, JpegImagePlugin
from PIL.TiffImagePlugin import TiffImageFile

from ..errors import PictureError
from .containers import avif_bits, is_lossless_webp, ppm_top, read_png_chunks
from .exif import ORIENTATION
from .opening import bytes_of, opened

_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS, _TIFF_CHANNELS, _TIFF_SAMPLES, _TIFF_TILE = 256, 257, 258, 277, 339, 322
_CHANNELS = {"1": 1, "L": 1, "F": 1, "LA": 2, "La": 2, "RGBA": 4, "RGBa": 4, "PA": 4}


@dataclass(frozen=True)
class Encoding:
    """This class says how the pixels of a file are compressed, to write the restored ones the same way.

    ``subsampling``: a JPEG's, by Pillow's numbers (0 = 4:4:4, 1 = 4:2:2, 2 = 4:2:0), None for others. ``tables``: a JPEG's
    quantisation tables. ``deflated``: a TIFF whose pixels are compressed.
    """

    lossless: bool
    subsampling: int | None = None
    tables: tuple[tuple[int, ...], ...] = ()
    progressive: bool = False
    deflated: bool = False


@dataclass(frozen=True)
class Header:
    """This class describes a picture file before its pixels are decoded.

    ``channels``: 1 grey, 2 grey with alpha, 3 RGB, 4 RGBA. ``bits`` a channel: 8, 16, or 32 for floats. ``height`` and
    ``width`` in px of the upright picture. ``frames``: their number; ``moving`` where they have durations. ``plays``: how often
    an animation is shown, 0 for ever. ``still_first``: the first frame of a PNG is not part of its animation. ``notes``: what
    reading changes or leaves out, one line each.
    """

    path: Path
    format: str
    channels: int
    bits: int
    height: int
    width: int
    orientation: int
    frames: int
    moving: bool
    plays: int
    still_first: bool
    encoding: Encoding
    notes: tuple[str, ...]


def has_alpha(image: Image.Image) -> bool:
    """Return whether an opened picture has an alpha channel or a colour that is transparent."""
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or ("transparency" in image.info and image.mode != "F")


def channels_of(image: Image.Image) -> int:
    """Return the channels of an opened picture: 1 grey, 2 grey with alpha, 3 RGB, 4 RGBA."""
    channels = 1 if image.mode.startswith("I") else _CHANNELS.get(image.mode, 3)
    return channels + 1 if channels in (1, 3) and has_alpha(image) else channels


def _stored_channels(file: ImageFile.ImageFile) -> int:
    """Return the channels of an opened file; Pillow calls a PNG of 16-bit grey with alpha RGBA."""
    if file.format == "PNG" and read_png_chunks(bytes_of(file), (b"IHDR",))[0][1][9] == 4:
        return 2
    return channels_of(file)


def orientation_of(file: ImageFile.ImageFile) -> int:
    """Return the orientation 1 to 8 of EXIF, XMP or TIFF, without decoding the pixels."""
    if isinstance(file, TiffImageFile):
        found = file.tag_v2.get(ORIENTATION, 1)
    else:
        exif = Image.Image.getexif(file)  # a PNG's own method would decode the whole file
        if file.format == "PNG" and ORIENTATION not in exif:
            for _, block in read_png_chunks(bytes_of(file), (b"eXIf",)):
                exif.load(b"Exif\0\0" + block)
        found = exif.get(ORIENTATION, 1)
    return found if found in range(1, 9) else 1


def _bits(file: ImageFile.ImageFile, path: Path) -> int:
    """Return the bits per channel as they are read: 8, 16 or 32. Raises :class:`PictureError` for what would lose some."""
    if isinstance(file, TiffImageFile):
        stored, kind = max(file.tag_v2.get(_TIFF_BITS, (1,))), max(file.tag_v2.get(_TIFF_SAMPLES, (1,)))
        if (stored, kind) == (32, 3) and file.mode == "F":
            return 32
        if stored > 8 and (stored, kind) != (16, 1):
            what = {1: "whole numbers", 2: "signed numbers", 3: "floats"}.get(kind, "numbers")
            raise PictureError(
                f"{path}: holds {what} of {stored} bit a channel; save it with 8 or 16 bit, or as grey floats in 0 to 1"
            )
        if stored == 16 and _TIFF_TILE in file.tag_v2 and file.mode in ("RGB", "RGBA"):
            raise PictureError(f"{path}: a TIFF of 16-bit colour in tiles; save it in strips, or as PNG")
        return 16 if stored == 16 else 8
    if file.format == "PNG":
        (_, header), *_ = read_png_chunks(bytes_of(file), (b"IHDR",))
        return 16 if header[8] == 16 else 8
    if file.format == "PPM" and file.mode == "RGB" and ppm_top(bytes_of(file)) > 255:
        raise PictureError(f"{path}: a PPM of more than 8 bit a channel; save it as PNG or TIFF")
    if file.mode == "F":
        return 32
    return 16 if file.mode.startswith("I") else 8


def _encoding(file: ImageFile.ImageFile) -> Encoding:
    if file.format in ("JPEG", "MPO"):
        sampling = JpegImagePlugin.get_sampling(file)
        tables = tuple(tuple(table) for _, table in sorted(getattr(file, "quantization", {}).items()))
        return Encoding(False, max(0, sampling), tables, "progressive" in file.info or "progression" in file.info)
    if file.format == "TIFF":
        compression = file.info.get("compression", "raw")
        return Encoding(compression not in ("jpeg", "webp"), deflated=compression != "raw")
    if file.format == "WEBP":
        return Encoding(is_lossless_webp(bytes_of(file)))
    return Encoding(file.format != "AVIF")


def _notes(file: ImageFile.ImageFile, frames: int) -> tuple[str, ...]:
    found = []
    if file.format == "MPO" and frames > 1:
        found.append(f"{frames - 1} more pictures in it (other views, or a map for HDR) are left out")
    if file.mode in ("CMYK", "LAB"):
        found.append(f"{file.mode} is turned into sRGB")
    if isinstance(file, TiffImageFile) and (more := file.tag_v2.get(_TIFF_CHANNELS, 1) - len(file.getbands())) > 0:
        found.append(f"{more} more channels in it, of no stated meaning, are left out")
    if file.format == "AVIF" and (bits := avif_bits(bytes_of(file))) > 8:
        found.append(f"{bits} bit are read as 8")
    return tuple(found)


def header_of(file: ImageFile.ImageFile, path: Path) -> Header:
    """Return the header of the opened ``file``, for the page at which a TIFF stands."""
    frames, place = getattr(file, "n_frames", 1), bytes_of(file).tell()
    width, height = file.size
    if isinstance(file, TiffImageFile):  # Pillow's own size of a turned TIFF differs between versions
        width, height = file.tag_v2[_TIFF_WIDTH], file.tag_v2[_TIFF_HEIGHT]
    orientation = orientation_of(file)
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    moving = frames > 1 and file.format in ("PNG", "WEBP", "GIF", "AVIF")
    plays = file.info.get("loop", None if file.format == "GIF" else 0)
    if file.format == "GIF":  # it states how often the animation is repeated
        plays = 1 if plays is None else plays and plays + 1
    bits, encoding, notes = _bits(file, path), _encoding(file), _notes(file, frames)
    if bits != 8 and frames > 1 and file.format != "TIFF":
        raise PictureError(f"{path}: an animation of {bits} bit a channel; save its frames as single pictures")
    bytes_of(file).seek(place)
    return Header(
        path=path,
        format="JPEG" if file.format == "MPO" else file.format or "unknown",
        channels=_stored_channels(file),
        bits=bits,
        height=height,
        width=width,
        orientation=orientation,
        frames=1 if file.format == "MPO" else frames,
        moving=moving,
        plays=int(plays),
        still_first=moving and bool(file.info.get("default_image", False)),
        encoding=encoding,
        notes=notes,
    )


def read_header(path: Path) -> Header:
    """Return the header of the picture file at ``path``; raises :class:`PictureError`."""
    path = Path(path)
    with opened(path) as file:
        return header_of(file, path)
