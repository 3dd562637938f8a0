"""The second generation's estimator: features tile by tile, judged for the whole picture at once."""

import pytest
import torch
from small import assessor, estimator, picture

from adaqual_core.errors import NumericalError
from adaqual_core.quality.bundled import estimate_quality

NET = estimator()


@pytest.mark.parametrize("tile", [16, 64, 100, 128])
def test_tiles_equal_the_whole_picture(tile):
    pixels = picture(230, 340)
    whole, parts = estimate_quality(NET, pixels, tile=4096), estimate_quality(NET, pixels, tile=tile)
    assert whole.scores.std() > 1e-3 and whole.kinds.std() > 1e-3
    assert torch.allclose(parts.scores, whole.scores, atol=1e-5) and torch.allclose(parts.kinds, whole.kinds, atol=1e-5)


def test_receptive_radius_of_the_features_is_a_true_bound():
    radius = NET.receptive_radius
    pixels = picture(32, 2 * radius + 64)
    changed = pixels.clone()
    column = radius + 32
    changed[..., column] = 1 - changed[..., column]
    different = (NET.features(pixels) != NET.features(changed)).any(2).any(1)[0]
    cells = different.nonzero().flatten()
    assert different[column // 16]
    assert 16 * int(cells[0]) + 16 + radius > column and 16 * int(cells[-1]) - radius <= column


def test_damage_far_away_is_evidence():
    """A cell is judged with the whole picture, however far away the rest of it is."""
    pixels = picture(64, 1600)
    noisy = pixels.clone()
    noisy[..., 800:] = (
        noisy[..., 800:] + 0.2 * torch.randn(noisy[..., 800:].shape, generator=torch.Generator().manual_seed(0))
    ).clamp(0, 1)
    first, second = (estimate_quality(NET, x).kinds[..., :4] for x in (pixels, noisy))
    assert (first - second).abs().max() > 1e-4


def test_pictures_of_a_batch_are_judged_alone():
    pixels = torch.cat((picture(64, 96), picture(64, 96, seed=1)))
    both = estimate_quality(NET, pixels)
    for i in range(2):
        alone = estimate_quality(NET, pixels[i : i + 1])
        assert torch.equal(both.kinds[i : i + 1], alone.kinds) and torch.equal(both.scores[i : i + 1], alone.scores)


def test_a_flat_picture_has_a_finite_gradient():
    net = estimator().requires_grad_(True)
    net(torch.full((1, 3, 32, 32), 0.5)).sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in net.parameters() if p.grad is not None)


@pytest.mark.parametrize("net", [estimator(), assessor()], ids=["second", "first"])
def test_what_cannot_be_computed_names_the_type_it_was_computed_in(net):
    next(net.parameters()).fill_(float("nan"))
    with pytest.raises(NumericalError, match="tile .0, 0. in torch.bfloat16"):
        estimate_quality(net.bfloat16(), picture(32, 32))
