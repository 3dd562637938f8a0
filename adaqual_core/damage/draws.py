"""This module draws the random numbers of damage. Every kind of damage of every picture has a stream of its own."""

import hashlib
import random

import torch
from torch import Tensor


class Draws:
    """This class draws the random numbers of one kind of damage of one picture.

    Two streams follow from ``seed`` and ``kind`` alone: single numbers, drawn on the CPU, and fields, drawn on ``device``.
    Leaving one kind of damage out of a composition therefore leaves the numbers of all others as they were. The same seed, kind
    and device give the same numbers.
    """

    def __init__(self, seed: int, kind: str, device: torch.device | str = "cpu"):
        digest = hashlib.sha256(f"{seed}/{kind}".encode()).digest()
        self._numbers = random.Random(digest)
        self.device = torch.device(device)
        self._fields = torch.Generator(self.device).manual_seed(int.from_bytes(digest[:4], "little"))

    def uniform(self, low: float, high: float) -> float:
        """Return one number from the uniform distribution over [low, high]."""
        return self._numbers.uniform(low, high)

    def log_uniform(self, low: float, high: float) -> float:
        """Return one number between ``low`` > 0 and ``high`` whose logarithm is uniformly distributed."""
        return low * (high / low) ** self._numbers.random()

    def chance(self, probability: float) -> bool:
        """Return whether an event of this probability happens."""
        return self._numbers.random() < probability

    def choose(self, *options):
        """Return one of the options; all are equally likely."""
        return self._numbers.choice(options)

    def normal(self, *shape: int) -> Tensor:
        """Return independent standard normal numbers of this shape, float32 on the device."""
        return torch.randn(shape, generator=self._fields, device=self.device)

    def rand(self, *shape: int) -> Tensor:
        """Return independent numbers from [0, 1) of this shape, float32 on the device."""
        return torch.rand(shape, generator=self._fields, device=self.device)

    def poisson(self, rate: Tensor) -> Tensor:
        """Return independent Poisson counts with these rates, which lie on the device."""
        return torch.poisson(rate, generator=self._fields)
