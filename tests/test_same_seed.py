"""The same seed gives the same picture, whatever the number of threads, the size of tiles and the batch."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from small import assessor, official, picture, restorer, weather
from torch import Tensor

from adaqual_core.prompt import PromptSettings, build_prompt
from adaqual_core.quality.assess import assess
from adaqual_core.sampling.restore import restore
from adaqual_core.sampling.settings import settings_for

MODELS = {"own": restorer, "official": official, "weather": weather}
JUDGE, PICTURES = assessor(), picture(70, 100, batch=2)


@pytest.fixture
def use_threads() -> Iterator[Callable[[int], None]]:
    """A function that sets the number of torch's threads, which is what it was again after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def chain(model: torch.nn.Module, pixels: Tensor, **settings: Any) -> Tensor:
    """Pictures judged and restored in two steps, with everything that is not perfect to be restored."""
    prompt = build_prompt(pixels, assess(JUDGE, pixels), PromptSettings(preserve=5))
    return restore(model, pixels, prompt, settings_for(model, steps=2, seed=7, stride=32, **settings)).picture


@pytest.mark.parametrize("name", MODELS)
def test_threads_tiles_and_batch_do_not_change_the_picture(name, use_threads):
    model = MODELS[name]()
    use_threads(1)
    once = chain(model, PICTURES)
    assert (once - PICTURES).abs().amax((1, 2, 3)).min() > 0.02  # both are restored
    use_threads(2)
    singles = [chain(model, one, tile=64, patch_batch=3) for one in PICTURES.split(1)]
    assert (torch.cat(singles) - once).abs().max() <= 1 / 255
