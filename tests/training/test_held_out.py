"""Held-out photos that show damage of their own."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from adaqual_core.kinds import KINDS
from adaqual_training.assessor import AssessorTask
from adaqual_training.held_out import held_out
from adaqual_training.recipe import read_recipe

RECIPES = Path(__file__).parent / "recipes"
HAZE = KINDS.index("haze")


@pytest.fixture(scope="module")
def hazy(corpus, tmp_path_factory) -> Path:
    """The small corpus, with one of the two held-out photos hazy in itself."""
    folder = tmp_path_factory.mktemp("hazy") / "corpus"
    shutil.copytree(corpus, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["pictures"][-1]["unfit"] = ["haze"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_what_a_photo_shows_itself_is_struck_out(corpus, hazy):
    settings = read_recipe(RECIPES / "restorer.toml").scenes
    own = [case for case in held_out(hazy, settings, 2) if case.scene["known"][0, HAZE] == 0]
    assert own and "haze" not in {case.group for case in own} and "clean" not in {case.group for case in own}
    assert all(case.scene["factors"][0, HAZE] == 0 for case in own)
    others = [case for case in held_out(corpus, settings, 1) if case.group != "struck"]
    assert all((case.scene["factors"] == 1).all() for case in others)


def test_an_unknown_quality_does_not_count(hazy):
    recipe = read_recipe(RECIPES / "assessor.toml")
    task = AssessorTask(recipe, hazy)
    before = task.evaluate(task.network, torch.device("cpu")).values
    unknown = [case.scene for case in task.cases if case.scene["known"][0, HAZE] == 0]
    assert unknown
    for scene in unknown:
        scene["quality"].fill_(1.0)
    assert task.evaluate(task.network, torch.device("cpu")).values == before
    for case in task.cases:
        case.scene["quality"].fill_(1.0)
    assert task.evaluate(task.network, torch.device("cpu")).values != before
