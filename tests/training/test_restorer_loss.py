"""The restorer's loss on pictures of which one number is known."""

from pathlib import Path

import pytest
import torch

from adaqual_training.recipe import read_recipe
from adaqual_training.restorer import RestorerLoss, relative_error

SETTINGS = RestorerLoss(**read_recipe(Path(__file__).parents[2] / "recipes" / "nano.toml").loss)


def loss_of(error: float, before: float) -> float:
    """The loss of a result that is off by ``error`` everywhere, where the input was off by ``before``."""
    target = torch.full((1, 3, 8, 8), 0.5)
    return float(relative_error(target + error, target, target + before, SETTINGS))


def test_a_perfect_result_costs_nothing_and_an_unchanged_one_costs_one():
    assert loss_of(0, 0.2) < 0.01
    assert loss_of(0.2, 0.2) == pytest.approx(1, abs=0.01)


def test_harm_costs_more_than_a_gain_of_the_same_size_earns():
    assert loss_of(0.25, 0.2) - loss_of(0.2, 0.2) > loss_of(0.2, 0.2) - loss_of(0.15, 0.2)


def test_a_changed_clean_picture_does_not_drown_all_others():
    small, large = loss_of(0.1, 0), loss_of(0.2, 0)
    assert 1 < small < large <= 2.1 * small


def test_one_picture_that_is_much_worse_does_not_drown_its_batch():
    """Told that a dark photo is dark, a network brightens it at first: its gradient must not be all that the others have."""

    def gradient(error: float, before: float) -> float:
        restored = torch.full((1, 3, 8, 8), 0.5 + error, requires_grad=True)
        target = torch.full((1, 3, 8, 8), 0.5)
        relative_error(restored, target, target + before, SETTINGS).backward()
        return float(restored.grad.norm())

    usual = gradient(0.05, 0.1)
    assert gradient(0.4, 0.005) < 3 * usual and gradient(0.1, 0.005) < 10 * usual
