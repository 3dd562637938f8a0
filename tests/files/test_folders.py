"""Folders: every picture that can be read alone is restored, whatever lies beside it, and what failed is listed."""

import json
import os

import numpy as np
import pytest
from lacking import HAS_AVIF
from PIL import Image
from small import picture

from adaqual_core.errors import PictureError
from adaqual_core.imageio import write_picture
from adaqual_core.pictures.folders import find_pictures
from adaqual_core.pictures.formats import SUFFIXES
from adaqual_core.pictures.header import read_header

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 24, 3), np.uint8)
KINDS = {
    "one.png": {},
    "two.PNG": {},
    "three.jpg": {},
    "four.jpeg": {},
    "five.jpe": {},
    "six.jfif": {},
    "seven.webp": {},
    "eight.tif": {},
    "nine.tiff": {},
    "ten.bmp": {},
    "eleven.gif": {},
    "thirteen.ppm": {},
    "fourteen.tga": {},
    "fifteen": {"format": "PNG"},
    "sixteen.backup": {"format": "JPEG"},
    "seventeen.png": {"format": "JPEG"},
} | ({"twelve.avif": {}} if HAS_AVIF else {})


def fill(folder, names=KINDS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(PIXELS).save(folder / name, **KINDS.get(name, {}))


def test_what_can_be_read_alone_is_read_in_a_folder(adaqual, tmp_path):
    fill(tmp_path / "in")
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    (tmp_path / "in" / ".hidden.png").write_bytes((tmp_path / "in" / "one.png").read_bytes())
    for name in KINDS:
        assert adaqual("restore", f"in/{name}", f"alone/{name}.png")[0] == 0
    status, _, err = adaqual("restore", "in", "out")
    assert (status, err) == (0, "")
    assert sorted(os.listdir("out")) == sorted(f"{name.split('.')[0]}.png" for name in KINDS)
    for name in KINDS:
        alone, together = (np.array(Image.open(path)) for path in (f"alone/{name}.png", f"out/{name.split('.')[0]}.png"))
        assert np.array_equal(alone, together)


def spoil(folder) -> list[str]:
    """Files that cannot be read; their names."""
    fill(folder, ["zz.png"])
    whole = (folder / "zz.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("hello")
    huge = bytearray(whole)
    huge[16:24] = (60000).to_bytes(4, "big") * 2
    (folder / "huge.png").write_bytes(bytes(huge))
    (folder / "folder.png").mkdir()
    Image.fromarray(np.full((20, 20), np.nan, np.float32)).save(folder / "nan.tif")
    Image.fromarray(np.zeros((20, 20), np.int32)).save(folder / "deep.tif")
    os.symlink(folder / "nowhere.png", folder / "broken_link.png")
    return ["broken_link.png", "cut.png", "deep.tif", "empty.jpg", "huge.png", "nan.tif", "text.png"]


def test_what_cannot_be_read_stops_nothing_and_is_listed(adaqual, tmp_path):
    fill(tmp_path / "in", ["aa.png", "mm.jpg"])
    bad = spoil(tmp_path / "in")
    status, out, err = adaqual("restore", "in", "out", "--json")
    assert status == 1 and sorted(os.listdir("out")) == ["aa.png", "mm.png", "zz.png"]
    lines = [line for line in err.splitlines() if line.startswith("adaqual: error: ")]
    assert len(lines) == len(bad) + 1 and all(any(f"in/{name}: " in line for line in lines) for name in bad)
    assert f"{len(bad)} of {len(bad) + 3} pictures failed: " in lines[-1]
    report = json.loads(out.splitlines()[-1])
    assert sorted(report["failed"]) == bad
    assert [entry["picture"] for entry in report["pictures"]] == ["aa.png", "mm.jpg", "zz.png"]
    assert "Traceback" not in err and "internal error" not in err


def test_nothing_readable_at_all(adaqual, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_text("hello")
    status, out, err = adaqual("restore", "in", "out", "--json")
    assert (status, out) == (1, "") and "1 of 1 pictures failed: a.png" in err and not os.path.exists("out")


def test_subfolders(adaqual, tmp_path):
    fill(tmp_path / "in", ["one.png"])
    fill(tmp_path / "in" / "below" / "deep", ["one.png", "two.PNG"])
    fill(tmp_path / "in" / ".hidden", ["one.png"])
    status, _, err = adaqual("restore", "in", "plain")
    assert status == 0 and os.listdir("plain") == ["one.png"]
    assert err == "adaqual: note: in: 1 subfolders are left out (below); add --recursive\n"
    status, out, err = adaqual("restore", "in", "in/out", "--recursive", "--json")
    assert (status, err) == (0, "")
    names = [entry["picture"] for entry in json.loads(out.splitlines()[-1])["pictures"]]
    assert names == ["below/deep/one.png", "below/deep/two.PNG", "one.png"]
    assert sorted(path.relative_to(tmp_path / "in/out").as_posix() for path in (tmp_path / "in/out").rglob("*.png")) == [
        "below/deep/one.png",
        "below/deep/two.png",
        "one.png",
    ]
    assert adaqual("restore", "in", "in/out", "--recursive", "--skip-existing", "--json")[0] == 0  # the output is no input


def test_a_large_folder_needs_few_open_files(adaqual, tmp_path):
    resource = pytest.importorskip("resource")
    fill(tmp_path / "in", [f"{number}.png" for number in range(40)])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 15, limits[1]))
    try:
        status = adaqual("restore", "in", "out", "--strength", 0)[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert status == 0 and len(os.listdir("out")) == 40


def test_only_subfolders_hold_pictures(adaqual, tmp_path):
    fill(tmp_path / "in" / "below", ["one.png"])
    status, _, err = adaqual("restore", "in", "out")
    assert status == 1 and "no pictures in this folder itself; --recursive" in err


def test_skip_existing(adaqual, tmp_path):
    fill(tmp_path / "in", ["one.png", "three.jpg"])
    assert adaqual("restore", "in", "out")[0] == 0
    (tmp_path / "out" / "one.png").write_bytes(b"mine")
    (tmp_path / "out" / "three.png").unlink()
    status, out, err = adaqual("restore", "in", "out", "--skip-existing", "--json")
    assert (status, err) == (0, "")
    report = json.loads(out.splitlines()[-1])
    assert report["skipped"] == ["one.png"] and [entry["picture"] for entry in report["pictures"]] == ["three.jpg"]
    assert (tmp_path / "out" / "one.png").read_bytes() == b"mine" and (tmp_path / "out" / "three.png").stat().st_size > 100
    assert adaqual("restore", "in", "out", "--skip-existing")[0] == 0
    assert adaqual("restore", "in/one.png", "out/one.png", "--skip-existing")[0] == 0
    assert (tmp_path / "out" / "one.png").read_bytes() == b"mine"


def test_quality_of_a_folder(adaqual, tmp_path):
    fill(tmp_path / "in", ["one.png", "three.jpg"])
    (tmp_path / "in" / "bad.png").write_text("hello")
    fill(tmp_path / "in" / "below", ["two.PNG"])
    status, out, err = adaqual("quality", "in", "--recursive", "--map", "maps", "--heatmap", "heat", "--json")
    assert status == 1 and "1 of 4 pictures failed: bad.png" in err
    report = json.loads(out.splitlines()[-1])
    assert [entry["picture"] for entry in report["pictures"]] == ["below/two.PNG", "one.png", "three.jpg"]
    assert report["mean"] == pytest.approx(sum(entry["mean"] for entry in report["pictures"]) / 3, abs=1e-4)
    for folder in ("maps", "heat"):
        assert {path.name for path in (tmp_path / folder).rglob("*.png")} == {"one.png", "two.png", "three.png"}
    _, out, _ = adaqual("quality", "in/one.png", "--json")
    assert json.loads(out.splitlines()[-1])["mean"] == report["pictures"][1]["mean"]


def test_a_folder_of_nothing_but_a_raw_file_and_a_film(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.nef", "TIFF")  # as Pillow sees many raw files
    (tmp_path / "b.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(40))
    with pytest.raises(PictureError, match="no pictures in this folder"):
        find_pictures(tmp_path)


def test_a_raw_file_alone_is_refused(adaqual, tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.nef", "TIFF")
    status, _, err = adaqual("restore", "a.nef", "b.png")
    assert status == 1 and "a camera's raw file; develop it first" in err


def test_every_ending_is_found(tmp_path):
    for suffix in SUFFIXES:
        (tmp_path / f"a{suffix}").write_bytes(b"")
        (tmp_path / f"B{suffix.upper()}").write_bytes(b"")
    assert len(find_pictures(tmp_path)) == 2 * len(SUFFIXES)


@pytest.mark.parametrize("length", [235, 251])
def test_long_names(adaqual, tmp_path, length):
    name = "ä" * (length // 2) + "b" * (length % 2) + ".png"
    assert len(name.encode()) >= 235
    write_picture(picture(20, 20), tmp_path / "in" / name)
    assert adaqual("restore", "in", "out")[0] == 0 and os.listdir("out") == [name]
    assert adaqual("restore", f"in/{name}", "again")[0] == 1 and os.path.isdir("out")
    assert adaqual("restore", f"in/{name}", f"again/{name}")[0] == 0 and os.listdir("again") == [name]


def test_names_that_are_too_long(adaqual, tmp_path):
    write_picture(picture(20, 20), tmp_path / "a.png")
    status, _, err = adaqual("restore", "a.png", f"{'x' * 300}.png")
    assert status == 1 and "longer than the 255 bytes" in err
    status, _, err = adaqual("restore", f"{'x' * 300}.png", "b.png")
    assert status == 1 and err.startswith("adaqual: error: xxx") and "internal error" not in err


def test_write_protected_outputs_are_not_replaced(adaqual, tmp_path):
    fill(tmp_path / "in", ["one.png", "two.PNG"])
    for target in ("b.png", "out/one.png"):
        (tmp_path / target).parent.mkdir(exist_ok=True)
        (tmp_path / target).write_bytes(b"mine")
        (tmp_path / target).chmod(0o444)
    status, _, err = adaqual("restore", "in/one.png", "b.png")
    assert status == 1 and "b.png: is write-protected" in err
    status, _, err = adaqual("degrade", "in/one.png", "b.png", "--kinds", "haze")
    assert status == 1 and "is write-protected" in err
    status, _, err = adaqual("restore", "in", "out")
    assert status == 1 and "1 of 2 pictures failed: one.png" in err and (tmp_path / "out" / "two.png").is_file()
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "out" / "one.png").read_bytes() == b"mine"


def test_an_output_that_is_the_input_by_another_name(adaqual, tmp_path):
    fill(tmp_path, ["one.png"])
    before = (tmp_path / "one.png").read_bytes()
    os.link(tmp_path / "one.png", tmp_path / "hard.png")
    os.symlink(tmp_path / "one.png", tmp_path / "soft.png")
    (tmp_path / "same").symlink_to(tmp_path)
    for target in ("one.png", "hard.png", "soft.png", "same/one.png", "same"):
        status, _, err = adaqual("restore", "one.png", target)
        assert status == 1 and "would replace an input" in err, target
    assert (tmp_path / "one.png").read_bytes() == before


PILLOWS = 2**30 // 4 // 3
"""Pillow's own Image.MAX_IMAGE_PIXELS; it refuses pictures of twice as many."""


def test_the_limit_of_size_can_be_raised_and_lowered(adaqual, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", PILLOWS)  # put back at the end
    write_picture(picture(40, 50), tmp_path / "a.png")
    for command in (("restore", "a.png", "b.png"), ("quality", "a.png"), ("restore", tmp_path, "out")):
        status, _, err = adaqual(*command, "--max-megapixels", 0.001)
        assert status == 1 and "a.png: larger than 0.001 megapixels; raise --max-megapixels" in err
    assert adaqual("restore", "a.png", "b.png", "--max-megapixels", 500)[0] == 0
    Image.new("1", (20000, 10000)).save(tmp_path / "wide.png")  # 200 megapixels
    assert read_header(tmp_path / "wide.png").width == 20000
    Image.MAX_IMAGE_PIXELS = PILLOWS
    with pytest.raises(PictureError, match="larger than 178.957 megapixels; raise --max-megapixels"):
        read_header(tmp_path / "wide.png")
