"""Scenes of photos that are given another look."""

import random
from dataclasses import replace
from pathlib import Path

import torch

from adaqual_training.recipe import read_recipe
from adaqual_training.scenes import Photos, graded, make_scene

SETTINGS = read_recipe(Path(__file__).parent / "recipes" / "assessor.toml").scenes


def test_another_look_is_no_damage(corpus):
    """Undamaged scenes of graded photos have another look, the best quality and no severity, and are their own target."""
    photos, settings = Photos(corpus, "train"), replace(SETTINGS, clean=1.0, single=0.0, weather=0.0, camera=0.0)
    for number in range(5):
        plain, other = (make_scene(photos, replace(settings, graded=share), 3, number) for share in (0.0, 1.0))
        assert (plain["degraded"].float() - other["degraded"].float()).abs().mean() > 1
        assert torch.equal(other["degraded"], other["target"])
        assert not other["severity"].any() and other["quality"].min() > 4.99


def test_a_look_keeps_the_range_and_the_order_of_grey_tones():
    ramp = torch.linspace(0, 1, 50).expand(3, 1, 50)
    for seed in range(30):
        looked = graded(ramp, random.Random(seed))
        assert looked.min() >= 0 and looked.max() <= 1
        assert (looked[:, :, 1:] - looked[:, :, :-1]).min() >= 0 and (looked[..., -1] - looked[..., 0]).min() > 0.7
        assert torch.equal(looked, graded(ramp, random.Random(seed)))
