"""Animations and pages: every frame is restored, with its duration, or the command says how."""

import io
import itertools
import json

import numpy as np
import pytest
from PIL import Image

from adaqual_core.errors import PictureError
from adaqual_core.imageio import read_picture
from adaqual_core.pictures.header import read_header
from adaqual_core.pictures.reading import read_frames

RNG = np.random.default_rng(0)
DURATIONS = [40, 80, 200]
MOVING = ["png", "webp", "gif", "avif"]


def stills(mode: str = "RGB", count: int = 3) -> list[Image.Image]:
    """Frames that differ everywhere."""
    channels = len(mode)
    found = []
    for number in range(count):
        pixels = RNG.integers(0, 256, (24, 36, channels), np.uint8) // 4 + 60 * number
        if mode in ("LA", "RGBA"):
            pixels[..., -1] = 255
            pixels[:8, 8 * number : 8 * number + 8, -1] = 0
        found.append(Image.fromarray(pixels[..., 0] if channels == 1 else pixels))
    return found


def save(path, frames, **options) -> None:
    kind = {"png": {}, "webp": {"lossless": True}, "gif": {"disposal": 2}, "avif": {"quality": 100}, "tif": {}}[path.suffix[1:]]
    frames[0].save(path, save_all=True, append_images=frames[1:], **kind, **options)


@pytest.mark.parametrize("source, target", list(itertools.product(MOVING, MOVING)))
def test_all_frames_and_durations_go_through(adaqual, tmp_path, source, target):
    loop = {} if source == "avif" else {"loop": 2}
    save(tmp_path / f"a.{source}", stills(), duration=DURATIONS, **loop)
    status, out, err = adaqual("restore", f"a.{source}", f"b.{target}", "--json")
    assert status == 0 and "left out" not in err
    assert json.loads(out.splitlines()[-1])["tiles_total"] == 3
    before, after = read_header(tmp_path / f"a.{source}"), read_header(tmp_path / f"b.{target}")
    assert (after.frames, after.moving, after.height, after.width) == (3, True, 24, 36)
    if "avif" not in (source, target):
        assert after.plays == before.plays == (3 if source == "gif" else 2)
    frames = list(read_frames(after))
    assert [frame.duration for frame in frames] == DURATIONS
    old = list(read_frames(before))
    for frame, one in zip(frames, old, strict=True):
        assert not np.array_equal(frame.pixels, one.pixels)


@pytest.mark.parametrize("suffix", ["png", "webp"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_frames_that_are_kept_are_equal(adaqual, tmp_path, suffix, mode):
    save(tmp_path / f"a.{suffix}", stills(mode), duration=DURATIONS)
    assert adaqual("restore", f"a.{suffix}", f"b.{suffix}", "--preserve", 1)[0] == 0
    before, after = (list(read_frames(read_header(tmp_path / f"{name}.{suffix}"))) for name in "ab")
    for one, other in zip(before, after, strict=True):
        visible = one.pixels[..., -1:] > 0 if mode == "RGBA" else True
        assert np.array_equal(one.pixels * visible, other.pixels * visible)


def test_transparent_gifs_stay_transparent(adaqual, tmp_path):
    save(tmp_path / "a.gif", stills("RGBA"), duration=DURATIONS)
    before = [frame.pixels[..., -1] for frame in read_frames(read_header(tmp_path / "a.gif"))]
    assert all((alpha == 0).any() for alpha in before)
    for target in ("b.gif", "b.png", "b.webp"):
        assert adaqual("restore", "a.gif", target)[0] == 0
        after = [frame.pixels[..., -1] for frame in read_frames(read_header(tmp_path / target))]
        assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True)), target


def test_a_gif_that_plays_once_or_for_ever(adaqual, tmp_path):
    for options, plays in (({}, 1), ({"loop": 0}, 0)):
        save(tmp_path / "a.gif", stills(), duration=DURATIONS, **options)
        for target in ("b.gif", "b.png", "b.webp"):
            assert adaqual("restore", "a.gif", target)[0] == 0
            assert read_header(tmp_path / target).plays == plays, target


def test_a_still_before_the_animation(adaqual, tmp_path):
    save(tmp_path / "a.png", stills(count=4), duration=DURATIONS, default_image=True)
    assert adaqual("restore", "a.png", "b.png")[0] == 0
    with Image.open(tmp_path / "b.png") as file:
        assert file.info["default_image"] and file.n_frames == 4
    frames = list(read_frames(read_header(tmp_path / "b.png")))
    assert [frame.duration for frame in frames][1:] == DURATIONS


@pytest.mark.parametrize("mode, compression", [("L", None), ("RGB", "tiff_lzw"), ("RGBA", "tiff_adobe_deflate")])
def test_all_pages_of_a_tiff(adaqual, tmp_path, mode, compression):
    pages = [still.resize((30 + 6 * number, 20 + number)) for number, still in enumerate(stills(mode))]
    options = {"compression": compression} if compression else {}
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], dpi=(200, 200), **options)
    assert adaqual("restore", "a.tif", "b.tif", "--preserve", 1)[0] == 0
    with Image.open(tmp_path / "b.tif") as file:
        assert file.n_frames == 3
        for number, page in enumerate(pages):
            file.seek(number)
            assert file.mode == mode and np.array_equal(np.array(file), np.array(page))
            assert tuple(map(float, file.info["dpi"])) == (200, 200)
            assert (file.info["compression"] == "raw") == (compression is None)
    assert adaqual("restore", "a.tif", "c.tif")[0] == 0
    assert not np.array_equal(np.array(Image.open(tmp_path / "c.tif")), np.array(pages[0]))


def test_pages_of_different_bits(adaqual, tmp_path):
    tifffile = pytest.importorskip("tifffile")
    pages = [RNG.integers(0, 256, (20, 30, 3), np.uint8), RNG.integers(0, 65536, (20, 30, 3), np.uint16)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in pages:
            file.write(page, photometric="rgb")
    assert adaqual("restore", "a.tif", "b.tif", "--preserve", 1)[0] == 0
    found = [frame.pixels for frame in read_frames(read_header(tmp_path / "b.tif"))]
    assert all(one.dtype == other.dtype and np.array_equal(one, other) for one, other in zip(found, pages, strict=True))


@pytest.mark.parametrize(
    "source, target, message",
    [
        ("a.gif", "b.jpg", "JPEG cannot hold the 3 frames; write .png, .webp or .gif instead"),
        ("a.webp", "b.bmp", "BMP cannot hold the 3 frames"),
        ("a.tif", "b.png", "PNG cannot hold the 3 pages; write .tif instead"),
        ("a.tif", "b.jpg", "JPEG cannot hold the 3 pages; write .tif instead"),
        ("a.tif", "b.gif", "GIF cannot hold the 3 pages"),
    ],
)
def test_formats_that_cannot_hold_the_frames_say_which_can(adaqual, tmp_path, source, target, message):
    save(tmp_path / source, stills())
    status, out, err = adaqual("restore", source, target)
    assert (status, out) == (1, "") and message in err and not (tmp_path / target).exists()


def test_durations_that_are_left_out_are_said(adaqual, tmp_path):
    save(tmp_path / "a.gif", stills(), duration=DURATIONS)
    status, _, err = adaqual("restore", "a.gif", "b.tif")
    assert status == 0 and "durations are left out" in err and read_header(tmp_path / "b.tif").frames == 3


def test_one_picture_is_never_taken_from_many_without_a_word(adaqual, tmp_path):
    for name in ("a.gif", "a.png", "a.webp", "a.tif"):
        save(tmp_path / name, stills())
        with pytest.raises(PictureError, match="3 frames, where one picture is needed"):
            read_picture(tmp_path / name)
        status, _, err = adaqual("quality", name)
        assert status == 1 and "3 frames" in err
        assert adaqual("degrade", name, f"b{name[1:]}", "--kinds", "haze")[0] == 0
        assert read_header(tmp_path / f"b{name[1:]}").frames == 3


def test_other_views_of_a_jpeg_are_said(adaqual, tmp_path):
    first, second, _ = stills()
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    assert Image.open(tmp_path / "a.jpg").format == "MPO"
    status, _, err = adaqual("restore", "a.jpg", "b.jpg")
    assert status == 0 and "1 more pictures in it" in err and read_header(tmp_path / "b.jpg").frames == 1


def test_a_sixteen_bit_animation_is_refused(adaqual, tmp_path):
    from adaqual_core.pictures.containers import SIGNATURE, png_chunks
    from adaqual_core.pictures.writing import write_still

    write_still(RNG.integers(0, 65536, (8, 8, 3), np.uint16), tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    control = b"".join(number.to_bytes(4, "big") for number in (8, 8, 0, 0)) + b"\0\1\0\x0a\0\0"
    parts = {kind: data[place : place + length] for kind, place, length in png_chunks(io.BytesIO(data))}
    animated = SIGNATURE + chunk(b"IHDR", parts[b"IHDR"]) + chunk(b"acTL", b"\0\0\0\2\0\0\0\0")
    animated += chunk(b"fcTL", bytes(4) + control) + chunk(b"IDAT", parts[b"IDAT"])
    animated += chunk(b"fcTL", b"\0\0\0\1" + control) + chunk(b"fdAT", b"\0\0\0\2" + parts[b"IDAT"]) + chunk(b"IEND", b"")
    (tmp_path / "moving.png").write_bytes(animated)
    status, _, err = adaqual("restore", "moving.png", "b.png")
    assert status == 1 and "an animation of 16 bit a channel; save its frames" in err
