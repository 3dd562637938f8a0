"""What a restorer's evaluation counts as harm."""

from pathlib import Path

import pytest
import torch
from small import RESTORER, restorer

from adaqual_core.networks.restorer import Restorer, initialise
from adaqual_training.held_out import GROUPS, Case, held_out
from adaqual_training.measure_restorer import CLEAN_BEST, HARM_COST, measure
from adaqual_training.recipe import read_recipe

RECIPE = Path(__file__).parent / "recipes" / "restorer.toml"


def scene(group: str, degraded: int, target: int, severity: float) -> Case:
    """An even picture of which the assessor says that it is dark to this degree."""
    pixels = torch.ones(1, 3, 32, 32, dtype=torch.uint8)
    told = torch.zeros(1, 9, 2, 2)
    told[:, :2] = severity
    parts = {"degraded": degraded * pixels, "target": target * pixels, "factors": torch.ones(1, 8), "estimated": told}
    return Case(group, parts | {"quality": 5 - 4 * told[:, :1], "severity": told[:, 1:]})


def brightening() -> Restorer:
    """A restorer that brightens whatever is called dark, and does nothing else."""
    network = restorer()
    with torch.no_grad():
        network.grid.head.weight.zero_()
        network.grid.head.bias.fill_(0.05)
        network.denoiser.ending.weight.zero_()
        network.denoiser.ending.bias.zero_()
    return network


@pytest.mark.parametrize("alarm, worse", [(0.0, 0.0), (0.5, 0.5)])
def test_a_clean_picture_that_is_brightened_counts_as_made_worse(alarm, worse):
    found = measure(brightening(), [scene("clean", 90, 90, alarm), scene("low", 60, 90, 0.5)], "kinds")
    assert found.values["worse"] == worse and found.values["gain"] > 1
    assert found.score == pytest.approx(found.values["gain"] - HARM_COST * worse, abs=1e-3)


def test_a_restorer_that_changes_nothing_measures_no_gain_and_no_harm(corpus):
    network = Restorer(RESTORER)
    initialise(network, 0)
    cases = list(held_out(corpus, read_recipe(RECIPE).scenes, 1))
    found = measure(network.requires_grad_(False), cases, "kinds")
    assert {group: found.values[group] for group in GROUPS} == dict.fromkeys(GROUPS, 0.0) | {"clean": CLEAN_BEST}
    assert found.values["gain"] == found.values["worse"] == found.values["worst"] == found.score == 0
    side = cases[0].scene["degraded"].shape[-1]
    assert found.sheet.shape == (1, 3, 8 * side // 2, 3 * side // 2)
    given, result, _ = found.sheet.chunk(3, 3)
    assert torch.equal(given, result)


def test_a_nearly_clean_picture_counts_as_harm_but_not_in_the_mean_gain():
    usual, spared = scene("low", 60, 90, 0.5), scene("low", 90, 90, 0.5)
    alone, both = (
        measure(brightening(), [scene("clean", 90, 90, 0.0), *cases], "kinds").values for cases in ([usual], [usual, spared])
    )
    assert both["low"] == alone["low"] == both["gain"] > 1
    assert alone["worse"] == 0 and both["worse"] == pytest.approx(1 / 3, abs=1e-3) and both["worst"] < -10
