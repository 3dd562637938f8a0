"""Malformed picture files, made with a seed: sound files of every kind that is read, cut, flipped, mixed and stretched."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from lacking import HAS_AVIF, HAS_QOI
from PIL import Image, PngImagePlugin

from adaqual_core.pictures.deep import encode_16_bit_png
from adaqual_core.pictures.metadata import Metadata
from adaqual_core.pictures.reading import Frame
from adaqual_core.pictures.tiff import encode_tiff


def _saved(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def whole_files(rng: np.random.Generator) -> dict[str, bytes]:
    """Small sound files by name, one for each way that files are read."""
    pixels = rng.integers(0, 256, (23, 31, 4), np.uint8)
    deep = rng.integers(0, 65536, (23, 31, 3), np.uint16)
    colour, alpha, grey = (Image.fromarray(part) for part in (pixels[..., :3], pixels, pixels[..., 0]))
    more = [Image.fromarray(255 - pixels[..., :3]), Image.fromarray(pixels[::-1, :, :3])]
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "text"
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "{}" * 20)
    info.add_itxt("XML:com.adobe.xmp", "<x/>")
    moving = {"save_all": True, "append_images": more, "duration": 50}
    frames = [Frame(array, 0.0, Metadata()) for array in (deep, deep[:10], pixels[..., :3])]
    floats = [Frame(rng.random((23, 31, 1), np.float32), 0.0, Metadata())]
    return {
        "colour.png": _saved(colour, "PNG", pnginfo=info, exif=exif, dpi=(72, 72)),
        "palette.png": _saved(colour.convert("P"), "PNG", transparency=3),
        "bits.png": _saved(grey.convert("1"), "PNG"),
        "grey16.png": encode_16_bit_png(deep[..., :1], "-"),
        "deep.png": encode_16_bit_png(deep, "-"),
        "moving.png": _saved(colour, "PNG", **moving),
        "colour.jpg": _saved(colour, "JPEG", exif=exif, comment=b"comment"),
        "cmyk.jpg": _saved(colour.convert("CMYK"), "JPEG"),
        "progressive.jpg": _saved(grey, "JPEG", progressive=True),
        "views.jpg": _saved(colour, "MPO", save_all=True, append_images=more[:1]),
        "lossy.webp": _saved(alpha, "WEBP", exif=exif),
        "lossless.webp": _saved(alpha, "WEBP", lossless=True),
        "moving.webp": _saved(colour, "WEBP", **moving),
        "lzw.tif": _saved(colour, "TIFF", compression="tiff_lzw", tiffinfo={270: "text"}),
        "jpeg.tif": _saved(colour, "TIFF", compression="jpeg"),
        "pages.tif": encode_tiff(frames, True),
        "floats.tif": encode_tiff(floats, False),
        "colour.bmp": _saved(colour, "BMP"),
        "moving.gif": _saved(colour, "GIF", **moving),
        **({"colour.avif": _saved(colour, "AVIF", quality=50, exif=exif)} if HAS_AVIF else {}),
        "colour.ppm": _saved(colour, "PPM"),
        "colour.tga": _saved(colour, "TGA"),
        **({"colour.qoi": _saved(colour, "QOI")} if HAS_QOI else {}),
    }


def _cut(data: bytearray, rng: np.random.Generator) -> bytearray:
    return data[: rng.integers(0, len(data))]


def _flipped(data: bytearray, rng: np.random.Generator) -> bytearray:
    for place in rng.integers(0, len(data), rng.integers(1, 12)):
        data[place] = rng.integers(256)
    return data


def _head_flipped(data: bytearray, rng: np.random.Generator) -> bytearray:
    for place in rng.integers(0, min(len(data), 100), rng.integers(1, 6)):
        data[place] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(256)])
    return data


def _number_changed(data: bytearray, rng: np.random.Generator) -> bytearray:
    place = int(rng.integers(0, max(1, len(data) - 4)))
    order = rng.choice(["<", ">"])
    data[place : place + 4] = struct.pack(f"{order}I", int(rng.choice([0, 1, 2**16 - 1, 2**31 - 1, 2**32 - 1, len(data)])))
    return data


def _part_moved(data: bytearray, rng: np.random.Generator) -> bytearray:
    first, second, third = sorted(int(place) for place in rng.integers(0, len(data), 3))
    return data[:first] + data[second:third] + data[first:second] + data[third:]


def _part_doubled(data: bytearray, rng: np.random.Generator) -> bytearray:
    first, second = sorted(int(place) for place in rng.integers(0, len(data), 2))
    return data[:second] + data[first:]


def _zeros(data: bytearray, rng: np.random.Generator) -> bytearray:
    first, second = sorted(int(place) for place in rng.integers(0, len(data), 2))
    data[first:second] = bytes(second - first)
    return data


def _more_behind(data: bytearray, rng: np.random.Generator) -> bytearray:
    return data + bytearray(rng.bytes(int(rng.integers(1, 3000))))


def _png_with_sound_sums(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A flipped PNG whose checksums are right, so that the damage reaches the decoder."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return _flipped(data, rng)
    out, place = bytearray(data[:8]), 8
    chosen, number = int(rng.integers(0, 6)), 0
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        body = data[place + 4 : place + 8 + length]
        if number == chosen and 0 < length < len(body) - 3:
            body[4 + int(rng.integers(0, length))] = int(rng.integers(256))
        out += struct.pack(">I", length) + body + struct.pack(">I", zlib.crc32(body))
        place, number = place + 12 + length, number + 1
    return out


CHANGES: tuple[Callable[[bytearray, np.random.Generator], bytearray], ...] = (
    _cut,
    _flipped,
    _head_flipped,
    _number_changed,
    _part_moved,
    _part_doubled,
    _zeros,
    _more_behind,
    _png_with_sound_sums,
)


def odd_files(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """``count`` names and contents of malformed files; now and then under the ending of another kind."""
    rng = np.random.default_rng(seed)
    whole = whole_files(rng)
    names = list(whole)
    for number in range(count):
        name = names[number % len(names)]
        data = bytearray(whole[name])
        for change in rng.choice(len(CHANGES), rng.integers(1, 3)):
            if len(data) > 8:
                data = CHANGES[change](data, rng)
        ending = rng.choice(names) if rng.random() < 0.1 else name
        yield f"{number:04}-{name.split('.')[0]}.{ending.split('.')[1]}", bytes(data)
