"""Scripts and the benchmark of a long queue, with the session's running ComfyUI."""

import itertools
import json
import random
from dataclasses import asdict

import benchmark_package  # noqa: F401  makes the benchmarks importable
import demo
import make_workflow_pictures
import numpy as np
import pytest
import start_comfyui
from comfy_server import REPOSITORY
from lacking import needs_sized_font
from PIL import Image

from benchmarks import queued


def pixels(picture: Image.Image, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BOX), float)


@needs_sized_font
def test_the_demonstration_writes_its_pictures_and_finds_a_better_one(server, tmp_path):
    before, after = demo.restore_photo(server, tmp_path)
    assert 1 <= before < after <= 5
    with Image.open(demo.PHOTO) as photo, Image.open(tmp_path / "before_after.png") as sheet:
        assert sheet.width > 3 * 640 and Image.open(tmp_path / "restored.png").size == photo.size
        panels = [
            pixels(sheet.crop((left, 44, left + 640, 44 + 640 * photo.height // photo.width)), (64, 64)) for left in (16, 1328)
        ]
        restored = pixels(Image.open(tmp_path / "restored.png"), (64, 64))
        assert np.abs(panels[0] - pixels(photo, (64, 64))).mean() < 2 and np.abs(panels[1] - restored).mean() < 2


def test_the_picture_of_a_workflow_shows_input_and_result(server, object_info):
    make_workflow_pictures.paint_inputs(server)
    side, path = make_workflow_pictures.SIDE, REPOSITORY / "workflows" / "adaqual_painted_mask.json"
    drawn = make_workflow_pictures.draw(server, path, object_info)
    assert drawn.size == (side, side) and drawn.getpixel((side // 2, side // 4)) == (255, 255, 255)
    given = make_workflow_pictures.square(Image.open(server.base / "input" / "adaqual_painted_mask.png"))
    change = np.abs(np.asarray(drawn, float) - np.asarray(given, float)).mean(2)[: side // 2]
    assert change[:, : side // 2 - 3].max() == 0 and change[:, side // 2 + 3 :].mean() > 1


def test_a_running_server_is_found_again_by_its_note(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(start_comfyui, "NOTE", tmp_path / "server.json")
    start_comfyui.NOTE.write_text(json.dumps(asdict(server), default=str))
    assert start_comfyui.current() == server
    start_comfyui.main([])
    assert f"runs at {server.address} " in capsys.readouterr().out


@pytest.fixture
def queued_models(server):
    """The files that the queue's graphs load, beside those that the session has."""
    made = []
    for name, save in queued.SAVERS.items():
        path = server.base / "models" / name
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            save(path)
            made.append(path)
    yield
    for path in made:
        path.unlink()


def test_every_graph_of_the_queue_runs_and_leaves_no_picture(server, queued_models, monkeypatch):
    monkeypatch.setattr(queued, "CLEAN_EVERY", len(queued.TURNS))
    files = {folder: set((server.base / folder).iterdir()) for folder in ("input", "temp")}
    found = list(itertools.islice(queued.readings(server, 3600, random.Random(0)), len(queued.TURNS) + 1))
    assert [one.unloaded for one in found] == [False] * len(queued.TURNS) + [True]
    assert all(10 < one.in_use < one.resident < 100_000 for one in found)
    assert [one.seconds for one in found] == sorted(one.seconds for one in found)
    assert {folder: set((server.base / folder).iterdir()) for folder in files} == files
