"""This module embeds timesteps."""

import math

import torch
from torch import Tensor


def sinusoid(timestep: Tensor, width: int) -> Tensor:
    """Return the sinusoidal embedding [B, width] of timesteps [B], cosine first (Ho et al. 2020)."""
    frequency = torch.exp(-math.log(10000) * torch.arange(width // 2, device=timestep.device) / (width // 2))
    phase = timestep.float()[:, None] * frequency
    return torch.cat((phase.cos(), phase.sin()), 1)
