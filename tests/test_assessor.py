import pytest
import torch
from small import assessor, picture

from adaqual_core.grid import cell_count
from adaqual_core.image_statistics import levels_and_detail
from adaqual_core.quality.bundled import AssessorNet, cell_statistics, estimate_quality

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
    whole = estimate_quality(NET, pixels, tile=4096).scores
    assert whole.std() > 1e-3
    assert torch.allclose(estimate_quality(NET, pixels, tile=tile).scores, whole, atol=1e-5)


def test_receptive_radius_is_a_true_bound():
    radius = NET.receptive_radius
    pixels = picture(32, 2 * radius + 64)
    changed = pixels.clone()
    column = radius + 32
    changed[..., column] = 1 - changed[..., column]
    known = levels_and_detail(pixels)
    different = (NET(pixels, known) != NET(changed, known)).any(2)[0, 0]
    cells = different.nonzero().flatten()
    assert different[column // 16]
    assert 16 * int(cells[0]) + 16 + radius > column and 16 * int(cells[-1]) - radius <= column


def test_a_place_is_judged_as_part_of_its_picture():
    """The same dark place beyond the receptive field of anything bright: alone, and in a picture that is bright elsewhere."""
    dark = 0.2 * picture(64, 64)
    beside = torch.cat((dark, 0.2 * picture(64, NET.receptive_radius), 0.5 + 0.5 * picture(64, 640)), 3)
    alone = torch.cat((dark, beside[..., 64 : 64 + NET.receptive_radius]), 3)
    maps = [estimate_quality(NET, pixels).scores[..., :4] for pixels in (alone, beside)]
    assert (maps[0] - maps[1]).abs().mean() > 5e-3
    assert torch.equal(NET(alone, levels_and_detail(alone))[..., :4], NET(alone)[..., :4])


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
        assert sum(p.numel() for p in AssessorNet().parameters()) <= 500_000
