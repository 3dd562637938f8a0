"""Folders that hold clips, or other files that a user may take for pictures: restored, or named as left out."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from clips import shown, write_clip
from lacking import HAS_CLIPS, needs_clips
from PIL import Image

from adaqual_core.pictures.formats import UNREAD_SUFFIXES

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)


def fill(folder: Path, *names: str) -> None:
    """Pictures, and clips of four frames, by the endings of their names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name.lower().endswith((".png", ".gif")):
            Image.fromarray(PIXELS).save(folder / name)
        else:
            write_clip(folder / name, frames=4, codec="libvpx-vp9" if name.endswith(".webm") else "libx264")


def files(folder: str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


@needs_clips
def test_clips_are_restored_as_they_are_alone(adaqual):
    fill(Path("in"), "a.png", "a.mp4", "b.MKV", "c.webm", "d.avi", "moving.gif")
    fill(Path("in/below"), "a.mov")
    status, out, err = adaqual("restore", "in", "out", "--recursive", "--temporal", 2, "--json")
    assert (status, err) == (0, "")
    assert files("out") == ["a.mp4", "a.png", "b.MKV", "below/a.mov", "c.webm", "d.avi.mkv", "moving.png"]
    report = json.loads(out.splitlines()[-1])
    assert sorted(one["clip"] for one in report["clips"]) == ["a.mov", "a.mp4", "b.MKV", "c.webm", "d.avi"]
    assert [one["picture"] for one in report["pictures"]] == ["a.png", "moving.gif"] and report["failed"] == []
    assert adaqual("restore", "in/a.mp4", "alone.mp4", "--temporal", 2)[0] == 0
    assert Path("alone.mp4").read_bytes() == Path("out/a.mp4").read_bytes()
    assert all(len(shown(Path("out", name))) == 4 for name in ("a.mp4", "b.MKV", "c.webm", "d.avi.mkv", "below/a.mov"))


@needs_clips
@pytest.mark.parametrize("suffix", [".ts", ".mts", ".m2ts"])
def test_source_code_is_no_clip(adaqual, suffix):
    fill(Path("in"), "a.png")
    write_clip(Path("film.ts" if suffix == ".ts" else "film.m2ts"), frames=4)
    next(Path().glob("film.*")).rename(f"in/film{suffix}")
    Path(f"in/code{suffix}").write_text("Good: export const one = 1;\n" * 40)
    assert adaqual("restore", "in", "out")[::2] == (0, "")
    assert files("out") == ["a.png", f"film{suffix}.mkv"]


@needs_clips
def test_a_damaged_clip_stops_nothing_and_is_listed(adaqual):
    fill(Path("in"), "a.mp4", "b.png", "c.mp4")
    Path("in/a.mp4").write_bytes(Path("in/a.mp4").read_bytes()[:300])
    Path("in/empty.mkv").write_bytes(b"")
    status, out, err = adaqual("restore", "in", "out", "--json")
    assert status == 1 and files("out") == ["b.png", "c.mp4"]
    lines = err.splitlines()
    assert "in/a.mp4: " in lines[0] and "in/empty.mkv: " in lines[1] and "Traceback" not in err
    assert "2 of 4 pictures and clips failed: a.mp4, empty.mkv; the others are in out" in lines[-1]
    assert json.loads(out.splitlines()[-1])["failed"] == ["a.mp4", "empty.mkv"]


@needs_clips
def test_clips_heed_skip_existing_and_are_never_their_own_target(adaqual):
    fill(Path("in"), "a.mp4", "b.mp4")
    Path("out").mkdir()
    Path("out/a.mp4").write_bytes(b"mine")
    status, out, _ = adaqual("restore", "in", "out", "--skip-existing", "--json")
    assert status == 0 and Path("out/a.mp4").read_bytes() == b"mine" and len(shown(Path("out/b.mp4"))) == 4
    assert json.loads(out.splitlines()[-1])["skipped"] == ["a.mp4"]
    status, _, err = adaqual("restore", "in", "in")
    assert status == 1 and "would replace an input" in err


@needs_clips
def test_a_clip_goes_into_a_folder_under_its_own_name(adaqual):
    fill(Path("in"), "a.mp4", "b.avi")
    Path("out").mkdir()
    assert adaqual("restore", "in/a.mp4", "out")[0] == 0 and adaqual("restore", "in/b.avi", "out")[0] == 0
    assert files("out") == ["a.mp4", "b.mkv"]


def test_without_a_new_pyav_clips_fail_and_pictures_do_not(adaqual):
    fill(Path("in"), "a.mp4", "b.png")
    status, _, err = adaqual("restore", "in", "out")
    assert status == (0 if HAS_CLIPS else 1) and Path("out/b.png").is_file()
    assert HAS_CLIPS or "in/a.mp4: clips need PyAV 18 or newer" in err


@pytest.mark.parametrize("command", ["restore", "quality"])
def test_what_cannot_be_read_is_named(adaqual, command):
    fill(Path("in"), "a.png")
    for suffix in UNREAD_SUFFIXES:
        Path(f"in/b{suffix}").write_bytes(b"data")
    Path("in/notes.txt").write_text("nothing that anybody takes for a picture")
    status, _, err = adaqual(command, "in", *(["out"] if command == "restore" else []))
    assert status == 0
    assert f"in: {len(UNREAD_SUFFIXES)} files are left out (b.3fr, b.arw, b.cr2…), whose formats cannot be read; export" in err


def test_quality_names_the_clips_that_it_leaves_out(adaqual):
    fill(Path("in"), "a.png", "b.mp4")
    status, _, err = adaqual("quality", "in")
    assert status == 0
    assert err == "adaqual: note: in: 1 clips are left out (b.mp4); adaqual restore takes them, quality only pictures\n"


def test_linked_folders_are_named_and_circles_end(adaqual):
    fill(Path("in/below"), "a.png")
    os.symlink("..", "in/below/circle")
    fill(Path("elsewhere"), "b.png")
    os.symlink(Path("elsewhere").resolve(), "in/linked")
    status, _, err = adaqual("restore", "in", "out", "--recursive")
    assert status == 0 and files("out") == ["below/a.png"]
    assert err == ("adaqual: note: in: 2 linked subfolders are left out (below/circle, linked); name each of them as IN\n")
