"""Bits and channels: what is kept of a picture returns from a file bit by bit, in the kind of numbers that the file had."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from adaqual_core.errors import PictureError
from adaqual_core.imageio import read_picture, to_pixels, to_tensor
from adaqual_core.pictures.deep import encode_16_bit_png
from adaqual_core.pictures.header import read_header
from adaqual_core.pictures.metadata import Metadata
from adaqual_core.pictures.reading import Frame, read_frames, read_still, turned
from adaqual_core.pictures.writing import write_frames, write_still

RNG = np.random.default_rng(0)


def noise(channels: int, kind: type, height: int = 21, width: int = 34) -> np.ndarray:
    """Random pixels; where there is alpha, some of it is 0."""
    if kind is np.float32:
        return RNG.random((height, width, channels), np.float32)
    pixels = RNG.integers(0, np.iinfo(kind).max, (height, width, channels), kind, endpoint=True)
    if channels in (2, 4):
        pixels[:5, :5, -1] = 0
    return pixels


EXACT = [
    *((f"a.{suffix}", channels, np.uint8) for suffix in ("png", "tif", "webp") for channels in (1, 2, 3, 4)),
    *((f"a.{suffix}", channels, np.uint16) for suffix in ("png", "tif") for channels in (1, 2, 3, 4)),
    *(("a.bmp", channels, np.uint8) for channels in (1, 3)),
    ("a.tif", 1, np.float32),
]
EXACT.remove(("a.tif", 2, np.uint16))  # Pillow reads none


@pytest.mark.parametrize("name, channels, kind", EXACT)
def test_pixels_return_from_a_file_as_they_were(tmp_path, name, channels, kind):
    pixels = noise(channels, kind)
    write_still(pixels, tmp_path / name)
    frame, header = read_still(tmp_path / name), read_header(tmp_path / name)
    if name == "a.webp" and channels < 3:  # it holds colours only
        assert header.channels == channels + 2
        frame = Frame(frame.pixels[..., [0, 3][:channels]], 0, Metadata())
    else:
        assert (header.channels, header.bits) == (channels, 8 * np.dtype(kind).itemsize)
    assert frame.pixels.dtype == kind
    assert np.array_equal(frame.pixels, pixels)


@pytest.mark.parametrize("name, channels, kind", EXACT)
def test_what_is_kept_is_equal_after_the_command(adaqual, tmp_path, name, channels, kind):
    write_still(noise(channels, kind), tmp_path / name)
    target = tmp_path / f"out{name[1:]}"
    assert adaqual("restore", name, target.name, "--preserve", 1)[0] == 0
    before, after = read_still(tmp_path / name).pixels, read_still(target).pixels
    assert after.dtype == before.dtype and np.array_equal(after, before)


@pytest.mark.parametrize("name, channels, kind", [case for case in EXACT if case[0] != "a.webp"])
def test_what_is_restored_has_the_same_channels_and_bits_and_alpha(adaqual, tmp_path, name, channels, kind):
    write_still(noise(channels, kind, 40, 50), tmp_path / name)
    target = tmp_path / f"out{name[1:]}"
    status, _, err = adaqual("restore", name, target.name)
    assert (status, err) == (0, "")
    before, after = read_still(tmp_path / name).pixels, read_still(target).pixels
    assert (after.dtype, after.shape) == (before.dtype, before.shape)
    assert not np.array_equal(after, before)
    if channels in (2, 4):
        assert np.array_equal(after[..., -1], before[..., -1])


def test_grey_with_alpha_in_a_deep_tiff_becomes_colour_with_a_word(adaqual, tmp_path):
    pixels = noise(2, np.uint16)
    write_still(pixels, tmp_path / "a.png")
    status, _, err = adaqual("restore", "a.png", "b.tif", "--preserve", 1)
    assert status == 0 and "grey becomes colour channels" in err
    assert np.array_equal(read_still(tmp_path / "b.tif").pixels, pixels[..., [0, 0, 0, 1]])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_tensor_and_back_is_exact(kind, channels):
    if kind is np.float32:
        pixels = noise(channels, kind)
    else:  # every value there is
        every = np.arange(np.iinfo(kind).max + 1, dtype=kind).reshape(256, -1, 1)
        pixels = np.concatenate([np.roll(every, 7 * channel) for channel in range(channels)], 2)
    tensor = to_tensor(pixels)
    assert tensor.shape == (1, 4 if channels in (2, 4) else 3, *pixels.shape[:2])
    assert np.array_equal(to_pixels(tensor, pixels), pixels)


def foreign_tiff(pixels: np.ndarray, **options) -> bytes:
    """A TIFF by a writer that is not ours."""
    tifffile = pytest.importorskip("tifffile")
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, **options)
    return out.getvalue()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_sixteen_bit_colour_of_other_writers(tmp_path, order, compression, planes):
    pixels = noise(3, np.uint16)
    given = pixels.transpose(2, 0, 1) if planes == "separate" else pixels
    data = foreign_tiff(given, photometric="rgb", byteorder=order, compression=compression, planarconfig=planes)
    (tmp_path / "a.tif").write_bytes(data)
    assert np.array_equal(read_still(tmp_path / "a.tif").pixels, pixels)


def test_compression_by_lzw(tmp_path):
    cv2 = pytest.importorskip("cv2")
    pixels = noise(3, np.uint16)
    cv2.imwrite(str(tmp_path / "a.tif"), pixels[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    assert np.array_equal(read_still(tmp_path / "a.tif").pixels, pixels)


@pytest.mark.parametrize("name, channels", [("a.png", 1), ("a.png", 3), ("a.png", 4), ("a.tif", 1), ("a.tif", 3), ("a.tif", 4)])
def test_other_readers_see_the_same_sixteen_bits(tmp_path, name, channels):
    cv2 = pytest.importorskip("cv2")
    pixels = noise(channels, np.uint16)
    write_still(pixels, tmp_path / name)
    found = cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED)
    found = found[..., None] if channels == 1 else found[..., [2, 1, 0, 3][:channels]]
    assert np.array_equal(found, pixels)


def test_white_is_zero(tmp_path):
    pixels = noise(1, np.uint16)
    (tmp_path / "a.tif").write_bytes(foreign_tiff(65535 - pixels[..., 0], photometric="miniswhite"))
    assert np.array_equal(read_still(tmp_path / "a.tif").pixels, pixels)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_sixteen_bit_colour(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = noise(3, np.uint16)
    if name == "a.png":
        write_still(pixels, tmp_path / name, Metadata(exif=exif.tobytes()[6:]))
    else:
        (tmp_path / name).write_bytes(foreign_tiff(pixels, photometric="rgb", extratags=[(274, "H", 1, orientation, True)]))
    expected = turned(pixels, orientation)
    assert np.array_equal(read_still(tmp_path / name).pixels, expected)
    header = read_header(tmp_path / name)
    assert (header.height, header.width) == expected.shape[:2]


@pytest.mark.parametrize(
    "pixels, options, message",
    [
        (np.zeros((4, 4), np.uint32), {}, "whole numbers of 32 bit"),
        (np.zeros((4, 4), np.int32), {}, "signed numbers of 32 bit"),
        (np.zeros((4, 4), np.int16), {}, "signed numbers of 16 bit"),
        (np.full((4, 4), 3.5, np.float32), {}, "floats from 3.5 to 3.5; scale them to 0 to 1"),
        (np.full((4, 4), -0.5, np.float32), {}, "floats from -0.5"),
        (np.full((4, 4), np.inf, np.float32), {}, "NaN or infinity"),
        (np.zeros((4, 4, 3), np.float32), {"photometric": "rgb"}, "TIFF whose samples are of an unknown layout"),
        (np.zeros((4, 4), np.float64), {}, "TIFF whose samples|floats of 64 bit"),
        (np.zeros((32, 32, 3), np.uint16), {"photometric": "rgb", "tile": (16, 16)}, "16-bit colour in tiles"),
    ],
)
def test_numbers_that_would_lose_bits_are_refused(tmp_path, pixels, options, message):
    (tmp_path / "a.tif").write_bytes(foreign_tiff(pixels, **options))
    with pytest.raises(PictureError, match=message):
        read_picture(tmp_path / "a.tif")


def test_fewer_bits_are_said(adaqual, tmp_path):
    write_still(noise(3, np.uint16), tmp_path / "deep.png")
    write_still(noise(1, np.float32), tmp_path / "float.tif")
    for source, target, said in (
        ("deep.png", "b.jpg", "16 bit become 8 bit"),
        ("deep.png", "b.webp", "16 bit become 8 bit"),
        ("float.tif", "b.png", "floats become 16 bit"),
        ("float.tif", "b.bmp", "floats become 8 bit"),
    ):
        status, _, err = adaqual("restore", source, target)
        assert status == 0 and err.startswith(f"adaqual: note: {target}: ") and said in err and err.count("\n") == 1


@pytest.mark.parametrize("transparent", [False, True])
def test_grey_palettes_and_grey_gifs_stay_grey(tmp_path, transparent):
    values = RNG.integers(0, 256, (9, 12), np.uint8)
    image = Image.fromarray(values).convert("P", palette=Image.Palette.ADAPTIVE)
    grey = np.array(image.convert("L"))
    hole = {"transparency": int(np.array(image)[0, 0])} if transparent else {}
    for name in ("a.png", "a.gif"):
        image.save(tmp_path / name, **hole)
        pixels = read_still(tmp_path / name).pixels
        assert pixels.shape[2] == 1 + transparent
        assert np.abs(pixels[..., 0].astype(int) - grey)[pixels[..., -1] > 0].max() == 0
        for target, difference in (("b.png", 0), ("b.gif", 12 if transparent else 0)):
            write_still(pixels, tmp_path / target)
            visible = pixels[..., -1] > 0
            found = read_still(tmp_path / target).pixels
            assert found.shape == pixels.shape and np.array_equal(found[..., -1] > 0, visible)
            assert np.abs(found.astype(int) - pixels)[visible].max() <= difference


def test_cmyk_and_lab_become_srgb_with_a_word(adaqual, tmp_path):
    colours = RNG.integers(0, 256, (20, 20, 3), np.uint8)
    Image.fromarray(colours).convert("CMYK").save(tmp_path / "cmyk.tif")
    Image.fromarray(colours).convert("CMYK").save(tmp_path / "cmyk.jpg", icc_profile=b"no profile at all")
    Image.new("LAB", (20, 20), (128, 128, 128)).save(tmp_path / "lab.tif")
    for name, word in (("cmyk.tif", "CMYK"), ("cmyk.jpg", "CMYK"), ("lab.tif", "LAB")):
        status, _, err = adaqual("restore", name, "b.png", "--preserve", 1)
        assert status == 0 and f"{word} is turned into sRGB" in err
        assert read_still(tmp_path / "b.png").pixels.shape == (20, 20, 3)
    assert np.abs(read_still(tmp_path / "cmyk.tif").pixels.astype(int) - colours).max() <= 1
    grey = read_still(tmp_path / "lab.tif").pixels[0, 0].astype(int)
    assert np.ptp(grey) <= 2 and 110 < grey[0] < 130


def test_multiplied_alpha_is_divided_out(tmp_path):
    alpha = np.full((4, 4, 1), 32768, np.uint16)
    data = foreign_tiff(
        np.concatenate((np.full((4, 4, 3), 10000, np.uint16), alpha), 2), photometric="rgb", extrasamples=["assocalpha"]
    )
    (tmp_path / "a.tif").write_bytes(data)
    pixels = read_still(tmp_path / "a.tif").pixels
    assert np.array_equal(pixels[..., 3:], alpha) and np.abs(pixels[..., :3].astype(int) - 20000).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_colour_in_sixteen_bits(tmp_path, channels):
    pixels = RNG.integers(0, 3, (12, 15, channels), np.uint16)
    data = encode_16_bit_png(pixels, tmp_path / "a.png")
    body = b"tRNS" + b"\0\1" * channels
    chunk = (2 * channels).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(data[:33] + chunk + data[33:])
    assert read_header(tmp_path / "a.png").channels == channels + 1
    found = read_still(tmp_path / "a.png").pixels
    assert np.array_equal(found[..., :channels], pixels)
    assert np.array_equal(found[..., -1] == 0, (pixels == 1).all(-1)) and set(np.unique(found[..., -1])) <= {0, 65535}


def test_a_ppm_of_many_bits(tmp_path):
    (tmp_path / "colour.ppm").write_bytes(b"P6 # a comment\n2 1\n65535\n" + bytes(12))
    with pytest.raises(PictureError, match="more than 8 bit a channel; save it as PNG or TIFF"):
        read_header(tmp_path / "colour.ppm")
    (tmp_path / "grey.pgm").write_bytes(b"P5\n2 1\n65535\n" + bytes([1, 2, 3, 4]))
    assert read_still(tmp_path / "grey.pgm").pixels.ravel().tolist() == [0x0102, 0x0304]


def test_pages_are_told_from_each_other_in_sixteen_bits(tmp_path):
    pages = [noise(3, np.uint16, 12 + page, 20) for page in range(3)]
    write_still(pages[0], tmp_path / "a.tif")
    header = read_header(tmp_path / "a.tif")
    write_frames([Frame(page, 0, Metadata()) for page in pages], tmp_path / "b.tif", header)
    found = list(read_frames(read_header(tmp_path / "b.tif")))
    assert len(found) == 3 and all(np.array_equal(frame.pixels, page) for frame, page in zip(found, pages, strict=True))
