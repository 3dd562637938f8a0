"""What every generator of damage promises, whatever its kind."""

from collections.abc import Callable

import torch
from torch import Tensor

from adaqual_core.damage.draws import Draws


def picture_and_map(
    generator: Callable[[Tensor, float, Draws], tuple[Tensor, Tensor]], given: Tensor, severity: float, draws: Draws
) -> tuple[Tensor, Tensor]:
    """Damage a picture, and check that a picture and a map of its size come back and that it is not changed itself."""
    before = given.clone()
    damaged, done = generator(given, severity, draws)
    assert torch.equal(given, before)
    assert damaged.shape == given.shape and done.shape == (1, *given.shape[1:])
    assert damaged.dtype == done.dtype == torch.float32
    assert damaged.isfinite().all() and done.isfinite().all()
    assert 0 <= damaged.min() and damaged.max() <= 1 and 0 <= done.min() and done.max() <= 1
    return damaged, done
