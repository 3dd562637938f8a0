"""This module lists all families of networks that restore. A new family is added here, in one line."""

import torch.nn as nn

from . import adaqual_diff, restorer, weather_diffusion
from .family import Family

FAMILIES: tuple[Family, ...] = (
    restorer.FAMILY,
    adaqual_diff.FAMILY,
    weather_diffusion.FAMILY,
)


def family_of(network: nn.Module) -> Family:
    """Return the family of a network; raises TypeError for one that no family knows."""
    for family in FAMILIES:
        if isinstance(network, family.network):
            return family
    known = ", ".join(family.network.__name__ for family in FAMILIES)
    raise TypeError(f"model: {type(network).__name__} restores no pictures; give what load_restorer returns ({known})")
