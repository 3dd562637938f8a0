"""Sound but unusual files, and unusual names: restored whole, or what is lost is said."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaqual_core.pictures.deep import encode_16_bit_png
from adaqual_core.pictures.header import read_header
from adaqual_core.pictures.reading import read_frames

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 24, 4), np.uint8)
COLOUR, ALPHA = Image.fromarray(PIXELS[..., :3]), Image.fromarray(PIXELS)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes, wrong: int = 0) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ wrong)


def with_chunk(data: bytes, more: bytes) -> bytes:
    """A PNG with one more chunk before its pixels."""
    return data[:33] + more + data[33:]


PNG, JPEG = saved(COLOUR, "PNG"), saved(COLOUR, "JPEG")
PALETTE = saved(COLOUR.quantize(16), "PNG", transparency=bytes(range(0, 256, 16)))


def by_pillow(data: bytes, mode: str = "RGB") -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data)).convert(mode))


CASES: dict[str, tuple[bytes, np.ndarray]] = {
    "fax.tif": (saved(COLOUR.convert("1"), "TIFF", compression="group4"), np.array(COLOUR.convert("1"), np.uint8) * 255),
    "jpeg.png": (JPEG, by_pillow(JPEG)),
    "once.webp": (saved(COLOUR, "WEBP", save_all=True, lossless=True, duration=40), PIXELS[..., :3]),
    "palette.png": (PALETTE, by_pillow(PALETTE, "RGBA")),
    "key.png": (
        saved(COLOUR, "PNG", transparency=tuple(PIXELS[0, 0, :3].tolist())),
        np.dstack([PIXELS[..., :3], np.where((PIXELS[..., :3] == PIXELS[0, 0, :3]).all(-1), 0, 255)]).astype(np.uint8),
    ),
    "runs.tga": (saved(ALPHA, "TGA", compression="tga_rle"), PIXELS),
    "dot.png": (saved(COLOUR.crop((0, 0, 1, 1)), "PNG"), PIXELS[:1, :1, :3]),
    "trailing.jpg": (JPEG + b"more" * 99, by_pillow(JPEG)),
}


@pytest.mark.parametrize("name", CASES)
def test_unusual_files_come_back_whole(adaqual, name):
    data, wanted = CASES[name]
    Path(name).write_bytes(data)
    status, _, err = adaqual("restore", name, "out.png", "--strength", 0)
    assert (status, err) == (0, "")
    (frame,) = read_frames(read_header(Path("out.png")))
    assert np.array_equal(frame.pixels.squeeze(), wanted.squeeze())


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind, data", [(b"gAMA", struct.pack(">I", 100000)), (b"cICP", bytes([9, 16, 0, 1])), (b"sRGB", b"\0")])
def test_what_a_png_says_of_its_colours_is_kept_or_its_loss_is_said(adaqual, kind, data, bits):
    png = PNG if bits == 8 else encode_16_bit_png(RNG.integers(0, 65536, (20, 24, 3), np.uint16), "-")
    Path("in.png").write_bytes(with_chunk(png, chunk(kind, data)))
    assert adaqual("restore", "in.png", "out.png", "--strength", 0)[::2] == (0, "")
    assert chunk(kind, data) in Path("out.png").read_bytes()
    _, _, err = adaqual("restore", "in.png", "out.jpg", "--strength", 0)
    assert ("the meaning of its colours" in err) == (kind != b"sRGB")


@pytest.mark.parametrize("name", ["in.jpg", "in.png", "in.webp", "in.tif"])
@pytest.mark.parametrize("profile", [b"no profile at all", b"\0" * 16 + b"GRAY" + b"\0" * 108])
def test_a_profile_that_cannot_be_kept_is_named(adaqual, name, profile):
    COLOUR.save(name, icc_profile=profile)
    status, _, err = adaqual("restore", name, "out.png", "--strength", 0)
    assert (status, err) == (
        0,
        "adaqual: note: out.png: a colour profile that is damaged or not for such pixels is left out\n",
    )


def test_more_channels_of_a_tiff_are_named(adaqual):
    tifffile = pytest.importorskip("tifffile")
    five = np.concatenate([PIXELS, PIXELS[..., :1]], -1)
    tifffile.imwrite("in.tif", five, photometric="rgb", extrasamples=["unassalpha", "unspecified"])
    status, _, err = adaqual("restore", "in.tif", "out.tif", "--strength", 0)
    assert status == 0 and "out.tif: 1 more channels in it, of no stated meaning, are left out" in err
    assert np.array_equal(np.array(Image.open("out.tif")), PIXELS)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WebP"])
def test_a_known_format_that_is_damaged_is_called_so(adaqual, kind):
    data = with_chunk(PNG, chunk(b"tEXt", b"a\0b", wrong=1)) if kind == "PNG" else saved(COLOUR, kind)[:12] + bytes(40)
    Path("in.png").write_bytes(data)
    status, _, err = adaqual("restore", "in.png", "out.png")
    assert status == 1 and "in.png: " in err and "damaged" in err and "get the file again" in err


NAMES = ["two\nlines.png", "undecodable\udcff.png", "ends in a space .png", "quote'\"$(x);.png", "🌧.png"]


@pytest.mark.parametrize("name", NAMES)
def test_unusual_names(adaqual, name):
    Path("in").mkdir()
    try:
        Path("in", name).write_bytes(PNG)
    except OSError:
        pytest.skip("this file system has no such names")
    status, out, err = adaqual("restore", f"in/{name}", f"alone {name}", "--strength", 0, "--json")
    assert (status, err) == (0, "") and Path(f"alone {name}").is_file()
    Path("in", f"bad {name}").write_bytes(b"no picture")
    status, out, err = adaqual("restore", "in", "out", "--strength", 0)
    assert status == 1 and os.listdir("out") == [name]
    assert len(err.splitlines()) == 2 and "1 of 2 pictures failed" in err


def test_a_name_that_begins_with_a_dash(adaqual):
    Path("-a.png").write_bytes(PNG)
    assert adaqual("restore", "./-a.png", "out.png", "--strength", 0)[0] == 0


def test_the_input_may_lie_in_the_output(adaqual):
    Path("out/in").mkdir(parents=True)
    Path("out/in/a.png").write_bytes(PNG)
    assert adaqual("restore", "out/in", "out", "--strength", 0)[0] == 0
    assert sorted(os.listdir("out")) == ["a.png", "in"] and Path("out/in/a.png").read_bytes() == PNG
