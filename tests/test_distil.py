"""Distilling a large assessor into the embedded one, with a random-weight DeQA-Score as the teacher."""

import json
import random

import pytest
import torch
from small import assessor, picture
from small_deqa import network, write

from adaqual_core.imageio import read_picture, write_picture
from adaqual_core.quality.assess import assess, open_assessor
from adaqual_core.quality.bundled import load_assessor
from adaqual_core.weight_files import save_model
from adaqual_training.distil import HELD, Labelled, crops, distil, parser
from adaqual_training.loop import Run


@pytest.fixture
def folder(tmp_path):
    """A teacher, a student that thinks all is bad, and twelve pictures of which some are bright and some dark."""
    write(tmp_path / "deqa", network())
    student = assessor()
    with torch.no_grad():
        student.head.bias.fill_(-4)
    save_model(student, tmp_path / "student.safetensors", {})
    for number in range(12):
        write_picture(picture(80, 64, seed=number), tmp_path / "pictures" / f"{number:02}.png")
    return tmp_path


def arguments(folder, **changed):
    options = {
        "assessor": folder / "deqa",
        "pictures": folder / "pictures",
        "run": folder / "run",
        "init": folder / "student.safetensors",
        "batch": 4,
        "size": 32,
        "rate": 0.03,
        "every": 1000,
        "device": "cpu",
    } | changed
    return parser().parse_args([text for name, value in options.items() for text in (f"--{name}", str(value))])


def test_the_student_moves_toward_its_teacher_and_labels_are_kept(folder, monkeypatch):
    monkeypatch.setattr(Run, "finished", lambda run: run.done.iteration >= 80)  # an hour is too long here
    distil(arguments(folder))
    student, teacher = load_assessor(folder / "run" / "assessor.safetensors"), open_assessor(folder / "deqa")
    held = [read_picture(folder / "pictures" / f"{number:02}.png") for number in range(0, 12, HELD)]
    before, after = (
        sum(float((assess(net, one).scores - assess(teacher, one).scores).abs().mean()) for one in held) / len(held)
        for net in (load_assessor(folder / "student.safetensors"), student)
    )
    assert after < 0.6 * before
    logged = json.loads((folder / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert logged["error"] == pytest.approx(after, abs=2e-3) and -1 <= logged["srcc"] <= 1
    assert len(list((folder / "run" / "scores").iterdir())) == 12
    monkeypatch.setattr(
        "adaqual_core.quality.deqa.scorer.DeqaScorer.score", lambda *args: pytest.fail("a picture was scored again")
    )
    monkeypatch.setattr(Run, "finished", lambda run: run.done.iteration >= 90)
    distil(arguments(folder))
    resumed = json.loads((folder / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert (logged["iteration"], resumed["iteration"]) == (80, 90) and resumed["error"] < 0.8 * before


def test_crops_keep_picture_and_map_together():
    """Each cell's colour is its score: wherever a crop is cut and however it is flipped, they must agree."""
    scores = 1 + 4 * torch.rand(5, 7, generator=torch.Generator().manual_seed(0))
    pixels = ((scores - 1) / 4 * 255).round().to(torch.uint8).repeat_interleave(16, 0).repeat_interleave(16, 1)
    one = Labelled(pixels[:75, :105].expand(3, -1, -1), scores, torch.arange(40.0))  # the last cells are cut by the border
    pictures, targets, statistics = next(crops([one], 48, 64, random.Random(0)))
    assert torch.equal(statistics, torch.arange(40.0).expand(64, -1))
    assert pictures.shape == (64, 3, 48, 48) and targets.shape == (64, 1, 3, 3)
    assert (1 + 4 * pictures[:, :1, ::16, ::16] - targets).abs().max() < 0.02
    assert len({tuple(target.flatten().tolist()) for target in targets}) > 10


def test_folders_that_cannot_be_used_are_explained(folder):
    for changed, message in (
        ({"size": 100}, "size: 100; give a multiple of 16"),
        ({"size": 96}, "is 64×80 px, smaller than a crop of 96"),
    ):
        with pytest.raises(ValueError, match=message):
            distil(arguments(folder, **changed))
    (folder / "pictures" / "00.png").rename(folder / "00.png")
    for number in (1, 2):
        (folder / "pictures" / f"{number:02}.png").unlink()
    with pytest.raises(ValueError, match="pictures: only 9 in"):
        distil(arguments(folder))
    assert not (folder / "run").exists()
