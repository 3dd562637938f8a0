"""The embedded assessor: features tile by tile, judged for the whole picture at once."""

import pytest
import torch
from small import assessor, picture

from adaqual_core.errors import NumericalError
from adaqual_core.grid import cell_count
from adaqual_core.quality.bundled import estimate_quality
from adaqual_core.quality.estimator import QualityEstimator, cell_statistics

NET = assessor()


@pytest.mark.parametrize("height, width", [(1, 1), (7, 300), (16, 16), (33, 50)])
def test_one_score_per_cell_in_range(height, width):
    quality = estimate_quality(NET, picture(height, width, batch=2))
    assert quality.scores.shape == (2, 1, cell_count(height), cell_count(width))
    assert quality.scores.min() >= 1 and quality.scores.max() <= 5
    assert (quality.height, quality.width) == (height, width)


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


def test_statistics_see_what_they_are_for():
    flat = torch.full((1, 3, 32, 32), 0.5)
    noisy = flat + 0.1 * torch.randn(flat.shape, generator=torch.Generator().manual_seed(0))
    assert (cell_statistics(noisy)[:, :3] > cell_statistics(flat)[:, :3]).all()
    blocks = flat.clone()
    blocks[..., 8:16] += 0.1
    blocks[..., 24:] += 0.1
    assert cell_statistics(blocks)[:, 18].min() > 1 > cell_statistics(flat)[:, 18].abs().max()


def test_alpha_is_ignored_and_batches_are_independent():
    pixels = picture(40, 40, batch=2, channels=4)
    scores = estimate_quality(NET, pixels).scores
    assert torch.equal(estimate_quality(NET, pixels[1:, :3]).scores, scores[1:])


def test_half_precision():
    pixels = picture(48, 64)
    exact = estimate_quality(NET, pixels).scores
    half = estimate_quality(assessor().bfloat16(), pixels).scores
    assert half.dtype == torch.float32 and (half - exact).abs().max() < 0.2


def test_progress_counts_tiles_and_cancels():
    seen = []
    estimate_quality(NET, picture(130, 70), tile=64, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 6) for i in range(1, 7)]
    with pytest.raises(KeyboardInterrupt):
        estimate_quality(NET, picture(16, 16), progress=lambda done, total: (_ for _ in ()).throw(KeyboardInterrupt))


def test_a_flat_picture_has_a_finite_gradient():
    net = assessor().requires_grad_(True)
    net(torch.full((1, 3, 32, 32), 0.5)).sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in net.parameters() if p.grad is not None)


def test_what_cannot_be_computed_names_the_type_it_was_computed_in():
    net = assessor()
    next(net.parameters()).fill_(float("nan"))
    with pytest.raises(NumericalError, match="tile .0, 0. in torch.bfloat16"):
        estimate_quality(net.bfloat16(), picture(32, 32))


@pytest.mark.parametrize(
    "pixels, tile, message",
    [
        (torch.rand(3, 16, 16), 1024, "picture: shape"),
        (torch.full((1, 3, 16, 16), float("nan")), 1024, "NaN"),
        (torch.rand(1, 3, 16, 16), 8, "tile: 8"),
    ],
)
def test_bad_input_is_named(pixels, tile, message):
    with pytest.raises(ValueError, match=message):
        estimate_quality(NET, pixels, tile=tile)


def test_the_embedded_assessor_is_small():
    with torch.device("meta"):
        assert sum(p.numel() for p in QualityEstimator().parameters()) <= 2_000_000
