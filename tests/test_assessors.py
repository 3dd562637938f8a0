"""Every assessor through the one interface, from a path, on small random weights."""

import json

import pytest
import torch
from small import assessor, picture
from small_clip import write_clip
from small_deqa import network, write

from adaqual_core import cli
from adaqual_core.errors import CheckpointError
from adaqual_core.imageio import write_picture
from adaqual_core.quality.assess import CLIP_IQA, DEQA, EMBEDDED, assess, cache_folder, family_of, kind_of, open_assessor, score
from adaqual_core.quality.bundled import estimate_quality
from adaqual_core.weight_files import save_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("assessors")
    save_model(assessor(), folder / "own.safetensors", {})
    write_clip(folder / "clip")
    write(folder / "deqa", network())
    return folder


PATHS = {
    "own.safetensors": EMBEDDED,
    "clip": CLIP_IQA,
    "clip/model.safetensors": CLIP_IQA,
    "deqa": DEQA,
    "deqa/model.safetensors.index.json": DEQA,
}


@pytest.mark.parametrize("name, kind", PATHS.items())
def test_a_path_gives_its_assessor(folder, name, kind):
    assert kind_of(folder / name) == kind
    opened, pictures = open_assessor(folder / name), picture(100, 70, batch=2)
    quality = assess(opened, pictures)
    assert quality.assessor == kind and quality.scores.shape == (2, 1, 7, 5)
    scores = score(opened, pictures)
    assert scores.shape == (2,) and ((scores >= 1) & (scores <= 5)).all() and scores[0] != scores[1]


def test_the_embedded_assessors_score_is_its_maps_mean(folder):
    pictures = picture(60, 70, batch=2)
    opened = open_assessor(folder / "own.safetensors")
    assert torch.equal(score(opened, pictures), estimate_quality(assessor(), pictures).mean)


def test_every_assessor_has_one_family_that_knows_its_costs(folder):
    kinds = {
        name: family_of(open_assessor(folder / path))
        for name, path in zip("abc", ("own.safetensors", "clip", "deqa"), strict=True)
    }
    assert [family.name for family in kinds.values()] == [EMBEDDED, CLIP_IQA, DEQA]
    assert kinds["a"].memory < kinds["b"].memory and kinds["a"].share < kinds["b"].share < 1
    assert [family.whole for family in kinds.values()] == [True, True, False]
    with pytest.raises(TypeError, match="Linear judges no pictures; give what open_assessor returns"):
        family_of(torch.nn.Linear(1, 1))


def test_what_is_no_assessor_is_explained(folder, tmp_path):
    for name, content, message in (
        ("empty", None, "config.json: no such file; give an AdaQual assessor"),
        ("bert", {"model_type": "bert"}, "model_type 'bert'; give the folder of a CLIP or of a DeQA-Score"),
        ("list", [1], "config.json: not a JSON object"),
    ):
        (tmp_path / name).mkdir()
        if content is not None:
            (tmp_path / name / "config.json").write_text(json.dumps(content))
        with pytest.raises(CheckpointError, match=message):
            open_assessor(tmp_path / name)
    with pytest.raises(CheckpointError, match="no such file"):
        open_assessor(tmp_path / "gone.safetensors")
    (tmp_path / "list" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="config.json: not JSON"):
        open_assessor(tmp_path / "list")


@pytest.mark.parametrize("name", ["clip", "deqa"])
def test_the_command_line_takes_any_of_them_and_keeps_scores(folder, name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache" / "adaqual" / "scores"
    write_picture(picture(100, 70), tmp_path / "a.png")
    command = ["quality", str(tmp_path / "a.png"), "--assessor", str(folder / name), "--device", "cpu", "--json"]
    assert cli.main(command) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert first["shape"] == [7, 5] and 1 <= first["min"] < first["max"] <= 5
    (entry,) = cache_folder().iterdir()
    written = entry.stat().st_mtime_ns
    assert cli.main(command) == 0 and json.loads(capsys.readouterr().out.splitlines()[-1]) == first
    assert [file.stat().st_mtime_ns for file in cache_folder().iterdir()] == [written]
    restore = ["restore", str(tmp_path / "a.png"), str(tmp_path / "b.png"), *command[2:], "--steps", "1"]
    assert cli.main(restore) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["mean_quality_before"] == first["mean"] and (tmp_path / "b.png").is_file()
