"""The second generation's restorer: its sizes, and what it does before any training."""

import pytest
import torch
from small import picture

from adaqual_core.kinds import KINDS
from adaqual_core.networks.restorer import PRESETS, Restorer, RestorerConfig, initialise
from adaqual_core.prompt import build_prompt
from adaqual_core.quality.map import QualityMap
from adaqual_core.sampling.restore import restore


@pytest.mark.parametrize(("preset", "millions"), [("nano", 6), ("base", 20)])
def test_presets_stay_within_their_sizes(preset, millions):
    with torch.device("meta"):
        network = Restorer(PRESETS[preset])
    assert 0.5 * millions < sum(p.numel() for p in network.parameters()) / 1e6 <= millions


def test_an_untrained_restorer_changes_nothing():
    network = Restorer(RestorerConfig())
    initialise(network, 0)
    image = picture(64, 64)
    quality = QualityMap(torch.full((1, 1, 4, 4), 1.5), 64, 64, "told", torch.full((1, len(KINDS), 4, 4), 0.6))
    assert torch.allclose(restore(network, image, build_prompt(image, quality)).picture, image, atol=1e-6)
