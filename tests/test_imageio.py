import numpy as np
import pytest
import torch
from lacking import needs_pillow_10
from PIL import Image, ImageCms

from adaqual_core.errors import PictureError
from adaqual_core.imageio import picture_shape, read_picture, write_picture
from adaqual_core.pictures.folders import find_pictures
from adaqual_core.pictures.reading import read_still
from adaqual_core.pictures.writing import check_output

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
RGBA = RNG.integers(0, 256, (5, 7, 4), dtype=np.uint8)


def save(path, array, mode=None, **options):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def as_tensor(array):
    return torch.from_numpy(array.astype(np.float32) / 255).permute(2, 0, 1)[None]


def test_eight_bit_colour(tmp_path):
    path = save(tmp_path / "a.png", COLOURS)
    assert torch.allclose(read_picture(path), as_tensor(COLOURS))
    assert picture_shape(path) == (3, 5, 7)


def test_alpha(tmp_path):
    path = save(tmp_path / "a.png", RGBA)
    assert torch.allclose(read_picture(path), as_tensor(RGBA))
    assert picture_shape(path) == (4, 5, 7)


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
def test_the_colour_profile_goes_through_a_file(tmp_path, name):
    write_picture(as_tensor(COLOURS), tmp_path / name, PROFILE)
    assert read_still(tmp_path / name).metadata.profile == PROFILE
    write_picture(as_tensor(COLOURS), tmp_path / name)
    assert read_still(tmp_path / name).metadata.profile is None


@pytest.mark.parametrize("space, mode, kept", [("GRAY", "L", True), ("RGB ", "L", False), ("CMYK", "CMYK", False)])
def test_a_profile_is_kept_where_it_is_for_what_is_read(tmp_path, space, mode, kept):
    profile = PROFILE[:16] + space.encode() + PROFILE[20:]
    save(tmp_path / "a.jpg", COLOURS, mode, icc_profile=profile)
    assert read_still(tmp_path / "a.jpg").metadata.profile == (profile if kept else None)
    assert read_picture(tmp_path / "a.jpg").shape == (1, 3, 5, 7)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.webp"])
def test_grey_becomes_three_equal_channels(tmp_path, name):
    found = read_picture(save(tmp_path / name, COLOURS[..., 0], **({"lossless": True} if name == "a.webp" else {})))
    expected = as_tensor(COLOURS[..., :1]).expand(1, 3, 5, 7)
    assert found.shape == (1, 3, 5, 7) and torch.allclose(found, expected)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bit_grey_keeps_its_precision(tmp_path, name):
    values = np.array([[0, 1, 300, 65535]], np.uint16)
    path = save(tmp_path / name, values)
    found = read_picture(path)
    assert found.shape == (1, 3, 1, 4) and picture_shape(path) == (3, 1, 4)
    assert torch.allclose(found[0, 1, 0], torch.tensor([0, 1, 300, 65535]) / 65535, rtol=1e-6)


def test_sixteen_bit_colour(tmp_path):
    """A 16-bit RGB PNG, written by hand, is read at least as 8-bit."""
    import struct
    import zlib

    values = np.array([[[0, 32768, 65535], [65535, 257, 0]]], ">u2")

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + values.tobytes())
    path = tmp_path / "deep.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    expected = torch.from_numpy(values.astype(np.float32) / 65535).permute(2, 0, 1)[None]
    assert torch.allclose(read_picture(path), expected, atol=1 / 255)


def test_float_tiff(tmp_path):
    path = save(tmp_path / "a.tif", np.array([[0.0, 0.25, 1.0]], np.float32))
    assert torch.allclose(read_picture(path)[0, 0, 0], torch.tensor([0, 0.25, 1]))
    path = save(tmp_path / "nan.tif", np.array([[0.0, np.nan]], np.float32))
    with pytest.raises(PictureError, match="nan.tif: holds NaN"):
        read_picture(path)


def test_palette_with_transparency(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "holes.png", transparency=1)
    plain, holes = (read_picture(tmp_path / name) for name in ("plain.png", "holes.png"))
    assert plain.shape == (1, 3, 2, 2) and picture_shape(tmp_path / "plain.png")[0] == 3
    assert holes.shape == (1, 4, 2, 2) and picture_shape(tmp_path / "holes.png")[0] == 4
    assert torch.equal(holes[:, :3], plain) and holes[0, 3].tolist() == [[1, 0], [0, 1]]
    assert plain[0, :, 0, 0].tolist() == [1, 0, 0] and plain[0, :, 0, 1].tolist() == [0, 0, 1]


@pytest.mark.parametrize("mode", ["1", "CMYK", pytest.param("YCbCr", marks=needs_pillow_10)])
def test_other_modes(tmp_path, mode):
    path = save(tmp_path / ("a.png" if mode == "1" else "a.tif"), COLOURS, mode)
    assert read_picture(path).shape == (1, 3, 5, 7)


@pytest.mark.parametrize("orientation, turn", [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation(tmp_path, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", COLOURS, exif=exif)
    expected = torch.rot90(as_tensor(COLOURS), turn, (2, 3))
    assert torch.allclose(read_picture(path), expected)
    assert picture_shape(path) == (3, *expected.shape[-2:])


def test_what_is_no_picture(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("text.png", "empty.png"):
        for read in (read_picture, picture_shape):
            with pytest.raises(PictureError, match=f"{name}: not a picture.*give PNG"):
                read(tmp_path / name)
    for read in (read_picture, picture_shape):
        with pytest.raises(PictureError, match="missing.png: no such file"):
            read(tmp_path / "missing.png")
        with pytest.raises(PictureError, match="is a folder"):
            read(tmp_path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "a.bmp"])
def test_damaged_files_end_in_a_picture_error_or_a_picture(tmp_path, name):
    whole = save(tmp_path / name, RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)).read_bytes()
    path = tmp_path / f"broken_{name}"
    refused = 0
    for length in range(1, len(whole) - 8, max(1, len(whole) // 40)):
        path.write_bytes(whole[:length])
        try:
            read_picture(path)
        except PictureError as problem:
            assert str(path) in str(problem)
            refused += 1
    assert refused > 20
    for _ in range(60):
        damaged = bytearray(whole)
        for place in RNG.integers(0, len(whole), 8):
            damaged[place] = RNG.integers(256)
        path.write_bytes(damaged)
        try:
            read_picture(path)
        except PictureError as problem:
            assert str(path) in str(problem)


@pytest.mark.parametrize(
    "name, channels", [(f"a.{kind}", n) for kind in ("png", "tif", "bmp") for n in (1, 3, 4) if (kind, n) != ("bmp", 4)]
)
def test_written_pictures_round_trip(tmp_path, name, channels):
    pixels = as_tensor(RGBA)[:, :channels]
    write_picture(pixels, tmp_path / "new" / name)
    found = read_picture(tmp_path / "new" / name)
    assert torch.allclose(found, pixels.expand(1, max(3, channels), 5, 7))
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]


def test_rounding_and_clamping(tmp_path):
    values = torch.tensor([-1.0, 0.4999 / 255, 0.5001 / 255, 254.6 / 255, 2.0])
    write_picture(values.expand(1, 3, 1, 5), tmp_path / "a.png")
    assert np.asarray(Image.open(tmp_path / "a.png"))[0, :, 0].tolist() == [0, 0, 1, 255, 255]


def test_tall_pictures_are_written_strip_by_strip(tmp_path):
    pixels = torch.rand(1, 3, 600, 3)
    write_picture(pixels, tmp_path / "a.png")
    assert (read_picture(tmp_path / "a.png") - pixels).abs().max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(
    "name, shape, message",
    [
        ("a.xyz", (3, 5, 7), "unknown kind of file '.xyz'.*end the name"),
        ("a", (3, 5, 7), "unknown kind of file ''"),
        ("a.tga", (3, 5, 7), "unknown kind"),
        ("a.jpg", (4, 5, 7), "JPEG cannot hold the picture's alpha; write .png"),
        ("a.bmp", (4, 5, 7), "BMP cannot hold the picture's alpha"),
        ("a.JPEG", (4, 5, 7), "JPEG cannot hold the picture's alpha"),
        ("a.webp", (3, 1, 20000), "WEBP cannot hold a picture of 20000×1 px; write .png"),
        ("a.jpg", (3, 70000, 1), "JPEG cannot hold a picture of 1×70000 px"),
        ("folder.png", (3, 5, 7), "is a folder"),
        ("file/a.png", (3, 5, 7), "cannot be written into"),
        ("file/deep/a.png", (3, 5, 7), "cannot be written into"),
    ],
)
def test_outputs_that_cannot_be(tmp_path, name, shape, message):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    for write in (lambda path: check_output(path, *shape), lambda path: write_picture(torch.zeros(1, *shape), path)):
        with pytest.raises(PictureError, match=message):
            write(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", COLOURS)
    before = path.read_bytes()
    encode = Image.Image.save

    def full_disk(self, target, *args, **options):
        encode(self, target, *args, **options)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(PictureError, match="a.png: cannot be written.*No space left"):
        write_picture(torch.zeros(1, 3, 5, 7), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 3, 5, 7), (1, 2, 5, 7)])
def test_only_one_picture_is_written(tmp_path, shape):
    with pytest.raises(PictureError, match="picture: shape"):
        write_picture(torch.zeros(shape), tmp_path / "a.png")


def test_pictures_of_a_folder(tmp_path):
    for name in ("b.PNG", "a.jpg", "c.tiff", ".hidden.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in find_pictures(tmp_path)] == ["a.jpg", "b.PNG", "c.tiff"]
    assert find_pictures(tmp_path / "folder.png", required=False) == []
    with pytest.raises(PictureError, match="no pictures in this folder"):
        find_pictures(tmp_path / "folder.png")
    with pytest.raises(PictureError, match="no such folder"):
        find_pictures(tmp_path / "missing")
