"""Links, pipes and names where files are expected, and files that change while a command runs: said, no other file suffers."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaqual_core.cli import work

RNG = np.random.default_rng(0)


def fill(*names: str, channels: int = 3) -> None:
    """Write pictures of noise under these names."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (20, 24, channels), np.uint8).squeeze()).save(name)


@pytest.fixture
def folder(adaqual) -> Callable[..., tuple[int, str, str]]:
    """Call ``adaqual`` in the test's folder, where ``in`` holds the sound pictures a.png and c.png."""
    fill("in/a.png", "in/c.png")
    return adaqual


PLACES: dict[str, tuple[Callable[[str], None], str]] = {
    "a link to nothing": (lambda name: os.symlink("nowhere", name), "b.png: no such file"),
    "a link to itself": (lambda name: os.symlink("b.png", name), "b.png: no such file, but a link that leads back to itself"),
    "a pipe": (lambda name: os.mkfifo(name), "b.png: is a pipe or a device"),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", ["restore", "quality"])
def test_what_is_named_like_a_picture_but_is_no_file_is_listed(folder, place, command):
    make, message = PLACES[place]
    make("in/b.png")
    status, _, err = folder(command, "in", *(["out", "--strength", 0] if command == "restore" else []))
    assert status == 1 and message in err and "1 of 3 pictures failed: b.png" in err
    assert command == "quality" or sorted(os.listdir("out")) == ["a.png", "c.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
@pytest.mark.parametrize("place", ["a link to itself", "a pipe"])
def test_what_is_no_file_is_not_replaced(folder, place):
    fill("in/b.png")
    Path("out").mkdir()
    PLACES[place][0]("out/b.png")
    before = os.lstat("out/b.png").st_ino
    status, _, err = folder("restore", "in", "out", "--strength", 0)
    assert status == 1 and "out/b.png: is a" in err and "1 of 3 pictures failed: b.png" in err
    assert sorted(os.listdir("out")) == ["a.png", "b.png", "c.png"] and os.lstat("out/b.png").st_ino == before


def test_a_link_to_nothing_becomes_the_link_of_the_new_file(folder):
    os.symlink("sub/new.png", "out.png")
    assert folder("restore", "in/a.png", "out.png", "--strength", 0)[0] == 0
    assert os.path.islink("out.png") and Path("sub/new.png").is_file()


@pytest.mark.parametrize("name", ["mask.png", "other_name_of_the_mask.png"])
def test_the_mask_is_an_input_too(folder, name):
    fill("mask.png", channels=1)
    before = Path("mask.png").read_bytes()
    if name != "mask.png":
        os.link("mask.png", name)
    status, _, err = folder("restore", "in/a.png", name, "--assume", "haze=0.7", "--assume-mask", "mask.png")
    assert (status, err) == (1, f"adaqual: error: {name}: would replace an input; write to another place\n")
    assert Path("mask.png").read_bytes() == Path(name).read_bytes() == before


def animation() -> None:
    frames = [Image.fromarray(RNG.integers(0, 256, (20, 24, 3), np.uint8)) for _ in range(3)]
    frames[0].save("in/b.png", save_all=True, append_images=frames[1:])


CHANGES: dict[str, tuple[Callable[[], object], str]] = {
    "larger": (lambda: Image.new("RGB", (99, 50)).save("in/b.png"), "was replaced by another picture"),
    "with alpha": (lambda: fill("in/b.png", channels=4), "was replaced by another picture"),
    "grey": (lambda: fill("in/b.png", channels=1), "was replaced by another picture"),
    "16 bit": (lambda: Image.fromarray(np.full((20, 24), 999, np.uint16)).save("in/b.png"), "was replaced by another picture"),
    "an animation": (animation, "was replaced by another picture"),
    "a JPEG": (lambda: Image.new("RGB", (24, 20)).save("in/b.png", "JPEG"), "was replaced by another picture"),
    "no picture": (lambda: Path("in/b.png").write_text("hello"), "not a picture"),
    "half": (lambda: os.truncate("in/b.png", 100), "damaged or truncated"),
    "gone": (lambda: os.unlink("in/b.png"), "no such file"),
    "a folder": (lambda: (os.unlink("in/b.png"), os.mkdir("in/b.png")), "is a folder"),
    "a link to itself": (lambda: (os.unlink("in/b.png"), os.symlink("b.png", "in/b.png")), "a link that leads back to itself"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_picture_that_changes_while_a_folder_is_restored_fails_alone(folder, monkeypatch, change):
    fill("in/b.png")
    write = work.write_job

    def and_change(job, *rest):
        if job.name == "a.png":
            CHANGES[change][0]()
        return write(job, *rest)

    monkeypatch.setattr(work, "write_job", and_change)
    status, _, err = folder("restore", "in", "out", "--strength", 0)
    assert status == 1 and f"in/b.png: {CHANGES[change][1]}" in err.replace("no such file, but ", "") and "1 of 3" in err
    assert sorted(os.listdir("out")) == ["a.png", "c.png"]


def test_a_picture_that_is_replaced_by_one_of_the_same_kind_is_restored(folder, monkeypatch):
    fill("in/b.png", "new.png")
    write = work.write_job
    monkeypatch.setattr(work, "write_job", lambda *given: (shutil.copy("new.png", "in/b.png"), write(*given))[1])
    assert folder("restore", "in", "out", "--strength", 0)[0] == 0
    assert np.array_equal(np.array(Image.open("out/b.png")), np.array(Image.open("new.png")))


@pytest.mark.parametrize("argv", [("restore", "", "out"), ("restore", "in/a.png", ""), ("quality", "in/a.png", "--map", "")])
def test_an_empty_name_is_not_the_folder_one_is_in(folder, argv):
    fill("here.jpg")
    before = sorted(map(str, Path().rglob("*")))
    status, _, err = folder(*argv)
    assert status == 2 and "an empty name; give the path of a file or folder" in err
    assert sorted(map(str, Path().rglob("*"))) == before


def test_names_that_would_meet_keep_their_endings(adaqual):
    fill("in/a.jpg", "in/a.png", "in/a.jpg.png", "in/b.png", "in/B.jpg")
    assert adaqual("restore", "in", "out", "--strength", 0)[0] == 0
    assert sorted(os.listdir("out")) == ["B.jpg.png", "a.jpg.png", "a.jpg.png.png", "a.png.png", "b.png.png"]
    assert np.array_equal(np.array(Image.open("out/a.jpg.png.png")), np.array(Image.open("in/a.jpg.png")))
