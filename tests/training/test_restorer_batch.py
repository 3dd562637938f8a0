"""What the restorer's training gives to the network."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adaqual_core.kinds import KINDS
from adaqual_training.recipe import read_recipe
from adaqual_training.restorer import RestorerTask

RECIPE = Path(__file__).parent / "recipes" / "restorer.toml"
LOW, RAIN = KINDS.index("low"), KINDS.index("rain")
COUNT, CELLS = 64, 4


@pytest.fixture(scope="module")
def task(corpus) -> RestorerTask:
    recipe = read_recipe(RECIPE)
    return RestorerTask(replace(recipe, loss=recipe.loss | {"estimated": 1.0}), corpus)


def scenes(light: int, kind: int) -> dict[str, torch.Tensor]:
    """Even scenes of one brightness in which one kind of damage fills a corner of one cell, as an assessor sees it."""
    told = torch.zeros(COUNT, 9, CELLS, CELLS)
    told[:, 0, 0, 0] = told[:, 1 + kind, 0, 0] = 0.8
    pixels = torch.full((COUNT, 3, 16 * CELLS, 16 * CELLS), light, dtype=torch.uint8)
    made = {"degraded": pixels, "target": pixels, "quality": 5 - 4 * told[:, :1], "severity": torch.zeros_like(told[:, 1:])}
    ones = torch.ones(COUNT, len(KINDS))
    return made | {"estimated": told, "factors": ones, "known": ones, "levels": torch.zeros(COUNT, 40)}


def cells(task: RestorerTask, given: dict[str, torch.Tensor]) -> torch.Tensor:
    return task.batch(given, [random.Random(i) for i in range(COUNT)], 0)["cells"]


def test_crops_without_damage_are_drawn_again(task):
    """A crop of 2×2 cells holds the damaged corner with probability 1/9 at each of up to four tries: 0.38 in all."""
    share = float((cells(task, scenes(128, RAIN)).amax((1, 2, 3)) > 0.5).float().mean())
    assert 0.25 < share < 0.55


def test_darkness_that_the_assessor_sees_in_a_dark_crop_is_struck_out(task):
    assert float(cells(task, scenes(40, LOW))[:, 1 + LOW].max()) == 0
    assert float(cells(task, scenes(128, LOW))[:, 1 + LOW].max()) > 0.5
    assert float(cells(task, scenes(40, RAIN))[:, 1 + RAIN].max()) > 0.5


def test_the_overall_severity_errs_by_itself(task):
    """What the assessor says of the kinds is told as it is, the overall severity of 0.8 between two thirds of that and 1."""
    told = cells(task, scenes(128, RAIN)).amax((2, 3))
    hit = told[:, 1 + RAIN] > 0
    assert hit.any() and torch.allclose(told[hit, 1 + RAIN], torch.tensor(0.8))
    assert 0.8 / 1.5 - 1e-6 <= float(told[hit, 0].min()) < 0.7 and float(told[hit, 0].max()) == 1
