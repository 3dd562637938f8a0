"""This module makes the held-out pictures by which a run chooses its best weights: fixed scenes of photos that are never trained
on."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adaqual_core.kinds import KINDS
from adaqual_core.quality.estimator import QualityEstimator

from .darkness import LOW, dark_crops
from .scenes import Photos, SceneSettings, composed, estimated, random_crop

COMPOSED = (
    ("low", "noise"),
    ("haze", "rain"),
    ("low", "snow"),
    ("noise", "jpeg"),
    ("low", "haze", "rain"),
    ("haze", "noise"),
    ("rain", "jpeg"),
)
"""Compositions that the group "composed" takes in turn."""

GROUPS = (*KINDS, "composed", "uneven", "struck", "clean")
"""Groups that are measured separately: each kind alone, compositions, damage in a region, compositions from which one kind is
struck out, and undamaged pictures."""


@dataclass(frozen=True)
class Case:
    """This class is one held-out scene: its group, and the tensors of :func:`scenes.composed` and ``known`` [8], each with a
    batch dimension of 1. ``known`` is 0 for the kinds of damage that the photo itself may show.
    """

    group: str
    scene: dict[str, Tensor]


def held_out(corpus: Path, settings: SceneSettings, per_group: int, assessor: QualityEstimator | None = None) -> Iterator[Case]:
    """Yield the same ``per_group`` scenes of every group at every call. Half of the damaged ones are seen through a camera.

    Undamaged ones are of photos that are clean examples of every kind. Other photos may show kinds of damage of their own. The
    target shows them too, so these kinds are struck out as in training: their ``factors`` are 0. So is low light in dark crops
    of lighter photos.

    With an ``assessor`` the scenes also hold its estimates of them.
    """
    photos = Photos(corpus, "held")
    for number, group in enumerate(GROUPS):
        for i in range(per_group):
            rng = random.Random(f"held-out/{number}/{i}")
            if group in KINDS:
                kinds: tuple[str, ...] = (group,)
            elif group == "clean":
                kinds = ()
            else:
                kinds = COMPOSED[i % len(COMPOSED)]
            index = photos.draw(kinds or KINDS, rng)
            clean = random_crop(photos.pixels(index), settings, rng)
            asked = {kind: rng.uniform(0.2, 0.9) for kind in kinds}
            kept = frozenset(kinds[:1]) if group == "struck" else frozenset()
            scene = composed(clean, asked, rng.getrandbits(32), group == "uneven", bool(kinds) and i % 2 == 1, kept)
            scene["known"] = photos.known(index)
            scene["factors"] = scene["factors"] * scene["known"]
            if bool(dark_crops(as_picture(scene["degraded"])[None], scene["severity"][None, LOW])):
                scene["factors"][LOW] = 0
            if assessor is not None:
                scene["estimated"] = estimated(assessor, scene["degraded"])
            yield Case(group, {key: value[None] for key, value in scene.items()})


def as_picture(pixels: Tensor) -> Tensor:
    """Return 8-bit pixels as a picture in [0, 1]."""
    return pixels.float() / 255


def mean(values: list[float]) -> float:
    """Return the arithmetic mean of the values."""
    return float(torch.tensor(values).mean())
