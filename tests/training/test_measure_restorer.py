"""What a restorer's evaluation counts as harm."""

import pytest
import torch
from small import restorer

from adaqual_training.held_out import Case
from adaqual_training.measure_restorer import HARM_COST, measure


def scene(group: str, degraded: int, target: int, severity: float) -> Case:
    """An even picture of which the assessor says that it is dark to this degree."""
    pixels = torch.ones(1, 3, 32, 32, dtype=torch.uint8)
    told = torch.zeros(1, 9, 2, 2)
    told[:, :2] = severity
    parts = {"degraded": degraded * pixels, "target": target * pixels, "factors": torch.ones(1, 8), "estimated": told}
    return Case(group, parts | {"quality": 5 - 4 * told[:, :1], "severity": told[:, 1:]})


@pytest.mark.parametrize("alarm, worse", [(0.0, 0.0), (0.5, 0.5)])
def test_a_clean_picture_that_is_brightened_counts_as_made_worse(alarm, worse):
    network = restorer()
    with torch.no_grad():
        network.grid.head.weight.zero_()
        network.grid.head.bias.fill_(0.05)  # it brightens whatever is called dark
        network.denoiser.ending.weight.zero_()
        network.denoiser.ending.bias.zero_()
    found = measure(network, [scene("clean", 90, 90, alarm), scene("low", 60, 90, 0.5)], "kinds")
    assert found.values["worse"] == worse and found.values["gain"] > 1
    assert found.score == pytest.approx(found.values["gain"] - HARM_COST * worse, abs=1e-3)
