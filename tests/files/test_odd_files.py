"""Malformed files, made with a seed: each is read or refused with a reason, in time and in bounded memory."""

import os
import time

import numpy as np
import pytest
from odd_files import odd_files, whole_files
from PIL import Image

from adaqual_core.errors import PictureError
from adaqual_core.pictures.header import read_header
from adaqual_core.pictures.reading import read_frames
from adaqual_core.pictures.writing import write_frames

LIMIT = 4e6
"""Pixels of the largest picture that is read here; the damage makes many headers claim much more."""


@pytest.fixture
def small_limit(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(LIMIT / 2))


def outcome(path, folder) -> str:
    """Read a file and write it again: "read", or what it was refused for."""
    try:
        header = read_header(path)
        frames = list(read_frames(header))
    except PictureError as problem:
        assert str(path) in str(problem) and "\n" not in str(problem)
        return str(problem).split(": ", 1)[1]
    for frame in frames:
        assert frame.pixels.ndim == 3 and 1 <= frame.pixels.shape[2] <= 4 and frame.pixels.size > 0
        assert frame.pixels.dtype in (np.uint8, np.uint16, np.float32)
    assert frames and frames[0].pixels.shape[:2] == (header.height, header.width)
    written = 0
    for suffix in ("png", "tif", "jpg", "webp"):
        target = folder / f"out.{suffix}"
        try:
            write_frames(frames, target, header)
        except PictureError as problem:
            assert str(target) in str(problem) and not target.exists()
            continue
        assert read_header(target).frames in (1, len(frames))  # equal frames of an animation may become one
        target.unlink()
        written += 1
    assert written
    return "read"


def test_the_sound_files_are_read(tmp_path):
    for name, data in whole_files(np.random.default_rng(0)).items():
        (tmp_path / name).write_bytes(data)
        assert outcome(tmp_path / name, tmp_path) == "read", name


def test_five_hundred_malformed_files(tmp_path, small_limit):
    outcomes, slowest = {}, 0.0
    (tmp_path / "out").mkdir()
    for name, data in odd_files(500, seed=20):
        (tmp_path / name).write_bytes(data)
        start = time.process_time()
        outcomes[name] = outcome(tmp_path / name, tmp_path / "out")
        slowest = max(slowest, time.process_time() - start)
        assert os.listdir(tmp_path / "out") == []
        (tmp_path / name).unlink()
    refused = [said for said in outcomes.values() if said != "read"]
    assert 100 < len(refused) < 450 and len(set(refused)) > 20
    assert slowest < 5
    bad = [f"{name}: {said}" for name, said in outcomes.items() if "NoneType" in said or "not defined" in said]
    assert not bad


def test_a_folder_of_malformed_files_ends_with_a_list(adaqual, tmp_path, small_limit):
    (tmp_path / "in").mkdir()
    for name, data in odd_files(40, seed=21):
        (tmp_path / "in" / name).write_bytes(data)
    status, out, err = adaqual("restore", "in", "out", "--strength", 0)
    assert status == 1 and "Traceback" not in err and "internal error" not in err
    failed = int(err.splitlines()[-1].split(" of ")[0].rsplit(" ", 1)[1])
    assert f"{failed} of 40 pictures failed" in err
    assert len(os.listdir("out")) == 40 - failed == len(out.splitlines())
    for name in os.listdir("out"):
        list(read_frames(read_header(tmp_path / "out" / name)))
