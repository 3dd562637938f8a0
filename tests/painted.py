"""A painted mask, and the check that what it paints is restored to the pixel."""

import small
import torch
from torch import Tensor

from adaqual_core.prompt import build_prompt
from adaqual_core.quality.map import QualityMap
from adaqual_core.sampling.restore import restore
from adaqual_core.sampling.settings import settings_for

HEIGHT, WIDTH = 150, 210


def stroke(height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """A mask [1, H, W] whose borders lie inside cells."""
    mask = torch.zeros(1, height, width)
    mask[:, 37:91, 53:140] = 1
    return mask


def check_exact(model: torch.nn.Module, quality: QualityMap, mask: Tensor) -> None:
    """Restore a picture of ``quality``, and check that it changes inside the mask [1, H, W] and stays as it is outside."""
    picture = small.picture(*mask.shape[1:])
    prompt = build_prompt(picture, quality)
    assert torch.equal(prompt.pixel_mask(0), mask[0])
    found = restore(model, picture, prompt, settings_for(model, steps=1)).picture
    outside = mask[0] == 0
    assert torch.equal(found[..., outside], picture[..., outside])
    assert (found - picture)[..., ~outside].abs().mean() > 0.005
