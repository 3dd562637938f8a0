"""How pixels are compressed follows the source: sampling, losslessness, quality."""

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from adaqual_core.pictures.header import read_header
from adaqual_core.pictures.reading import read_still

SMOOTH = (np.indices((40, 56)).sum(0)[..., None] * np.array([2, 1, 2]) % 256).astype(np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


def sampling(path) -> int:
    with Image.open(path) as file:
        return JpegImagePlugin.get_sampling(file)


def tables(path) -> list:
    with Image.open(path) as file:
        return [list(table) for _, table in sorted(file.quantization.items())]


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [60, 90, 98, 100])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_keeps_its_sampling_and_is_no_worse(adaqual, tmp_path, subsampling, quality, progressive):
    Image.fromarray(SMOOTH).save(tmp_path / "a.jpg", quality=quality, subsampling=subsampling, progressive=progressive)
    assert adaqual("restore", "a.jpg", "b.jpg")[0] == 0
    assert sampling(tmp_path / "b.jpg") == subsampling
    for ours, theirs in zip(tables(tmp_path / "b.jpg"), tables(tmp_path / "a.jpg"), strict=True):
        assert all(one <= other for one, other in zip(ours, theirs, strict=True))
    with Image.open(tmp_path / "b.jpg") as file:
        assert ("progressive" in file.info) == progressive


def test_a_turned_jpeg_never_has_less_colour(adaqual, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for subsampling in (0, 1, 2):
        Image.fromarray(SMOOTH).save(tmp_path / "a.jpg", subsampling=subsampling, exif=exif)
        assert adaqual("restore", "a.jpg", "b.jpg")[0] == 0
        assert sampling(tmp_path / "b.jpg") == {0: 0, 1: 0, 2: 2}[subsampling]


def test_a_grey_jpeg_stays_grey(adaqual, tmp_path):
    Image.fromarray(SMOOTH[..., 0]).save(tmp_path / "a.jpg", quality=97)
    assert adaqual("restore", "a.jpg", "b.jpg")[0] == 0
    with Image.open(tmp_path / "b.jpg") as file:
        assert file.mode == "L"


def test_full_colour_becomes_a_jpeg_of_full_colour(adaqual, tmp_path):
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    assert adaqual("restore", "a.png", "b.jpg")[0] == 0
    assert sampling(tmp_path / "b.jpg") == 0


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp_is_lossless_where_the_source_is(adaqual, tmp_path, mode):
    picture = Image.fromarray(NOISE).convert(mode)
    if mode == "RGBA":
        picture.putalpha(Image.fromarray(NOISE[..., 0]))
    picture.save(tmp_path / "lossless.webp", lossless=True, exact=True)
    picture.save(tmp_path / "lossy.webp", quality=80)
    picture.save(tmp_path / "a.png")
    for name, expected in (("lossless.webp", True), ("lossy.webp", False), ("a.png", True)):
        assert adaqual("restore", name, "b.webp", "--preserve", 1)[0] == 0
        assert read_header(tmp_path / "b.webp").encoding.lossless == expected
        equal = np.array_equal(read_still(tmp_path / "b.webp").pixels, read_still(tmp_path / name).pixels)
        assert equal or not expected


def test_an_animated_webp_is_lossless_only_as_a_whole(tmp_path):
    frames = [Image.fromarray(NOISE), Image.fromarray(255 - NOISE)]
    for lossless in (False, True):
        frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=lossless)
        assert read_header(tmp_path / "a.webp").encoding.lossless == lossless


@pytest.mark.parametrize("suffix", ["jpg", "webp", "avif"])
def test_quality_is_heeded(adaqual, tmp_path, suffix):
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    sizes = []
    for quality in (5, 50, 100):
        assert adaqual("restore", "a.png", f"{quality}.{suffix}", "--quality", quality)[0] == 0
        sizes.append((tmp_path / f"{quality}.{suffix}").stat().st_size)
    assert sizes == sorted(set(sizes))
    assert adaqual("restore", "a.png", f"b.{suffix}", "--quality", 0)[0] == 2


def test_pixels_hidden_by_alpha_return_from_a_webp(adaqual, tmp_path):
    pixels = np.dstack((NOISE, np.zeros_like(NOISE[..., :1])))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert adaqual("restore", "a.png", "b.webp", "--preserve", 1)[0] == 0
    assert np.array_equal(read_still(tmp_path / "b.webp").pixels, pixels)
