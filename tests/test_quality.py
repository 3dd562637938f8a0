import pytest
import torch

from adaqual_core.filters import gaussian_blur
from adaqual_core.grid import HIGHEST, LOWEST, cell_count, quality_of, severity_of
from adaqual_core.quality.edit import edit_quality
from adaqual_core.quality.map import QualityMap, quality_from_severity


def random_map(batch=2, rows=4, columns=6):
    scores = 1 + 4 * torch.rand((batch, 1, rows, columns), generator=torch.Generator().manual_seed(0))
    return QualityMap(scores, 16 * rows - 5, 16 * columns - 9, "test")


@pytest.mark.parametrize("pixels, cells", [(1, 1), (16, 1), (17, 2), (3000, 188)])
def test_cells_cover_the_picture(pixels, cells):
    assert cell_count(pixels) == cells


@pytest.mark.parametrize(
    "scores, size, message",
    [
        (torch.ones(1, 4, 4), (64, 64), "scores: shape"),
        (torch.ones(1, 2, 4, 4), (64, 64), "scores: shape"),
        (torch.ones(1, 1, 0, 4), (64, 64), "scores: shape"),
        (torch.ones(1, 1, 4, 4).half(), (64, 64), "float32"),
        (torch.full((1, 1, 4, 4), 0.99), (64, 64), r"outside \[1, 5\]"),
        (torch.full((1, 1, 4, 4), 5.01), (64, 64), r"outside \[1, 5\]"),
        (torch.full((1, 1, 4, 4), float("nan")), (64, 64), "NaN"),
        (torch.ones(1, 1, 4, 4), (0, 64), "picture size"),
    ],
)
def test_a_map_that_is_none_is_refused(scores, size, message):
    with pytest.raises(ValueError, match=message):
        QualityMap(scores, *size, "test")


def test_mean_severity_and_index():
    quality = random_map()
    assert torch.allclose(quality.severity, (5 - quality.scores) / 4)
    assert torch.allclose(quality.mean, quality.scores.mean((1, 2, 3)))
    assert quality.batch == 2
    one = quality.index(1)
    assert one.batch == 1 and torch.equal(one.scores[0], quality.scores[1])
    assert (one.height, one.width, one.assessor) == (quality.height, quality.width, "test")


def test_resizing_keeps_range_corners_and_mean():
    quality = random_map(1)
    fine = quality.resized(quality.height, quality.width)
    assert fine.shape == (1, 1, quality.height, quality.width)
    assert fine.min() >= 1 and fine.max() <= 5
    assert torch.allclose(fine[0, 0, 0, 0], quality.scores[0, 0, 0, 0], atol=1e-5)
    coarse = quality.resized(1, 1)
    assert torch.allclose(coarse.flatten(), quality.mean)
    assert quality.cells() is quality.scores


def test_severity_mask_round_trip():
    mask = torch.rand((2, 20, 30), generator=torch.Generator().manual_seed(1))
    quality = quality_from_severity(mask)
    assert torch.allclose(quality.severity[:, 0], mask, atol=1e-6)
    assert (quality.height, quality.width) == (20, 30)
    assert quality.cells().shape == (2, 1, 2, 2)


def test_severity_mask_is_clamped_and_checked():
    assert quality_from_severity(torch.tensor([[[-3.0, 7.0]]])).scores.flatten().tolist() == [5, 1]
    with pytest.raises(ValueError, match="NaN"):
        quality_from_severity(torch.full((1, 2, 2), float("nan")))
    with pytest.raises(ValueError, match="mask: shape"):
        quality_from_severity(torch.ones(2, 2))


def test_editing_nothing_changes_nothing():
    quality = random_map()
    assert torch.allclose(edit_quality(quality).scores, quality.scores, atol=1e-6)


def test_gain_scales_severity():
    quality = random_map()
    assert torch.allclose(edit_quality(quality, gain=0.5).severity, quality.severity / 2, atol=1e-6)
    assert (edit_quality(quality, gain=0).scores == 5).all()
    assert (edit_quality(quality, gain=1e9).scores == 1).all()


def test_limits():
    edited = edit_quality(random_map(), minimum=2, maximum=3)
    assert edited.scores.min() == 2 and edited.scores.max() == 3


def test_blur_in_px_smooths_and_keeps_flat_maps():
    quality = random_map()
    assert edit_quality(quality, blur=32).scores.std() < 0.7 * quality.scores.std()
    grid = QualityMap(quality.scores, 64, 96, "test")  # cells of 16 px
    expected = torch.stack([gaussian_blur(one, 1.0) for one in grid.scores])
    assert torch.allclose(edit_quality(grid, blur=16).scores, expected, atol=1e-5)
    flat = QualityMap(torch.full((1, 1, 4, 4), 3.0), 64, 64, "test")
    assert torch.allclose(edit_quality(flat, blur=20).scores, flat.scores, atol=1e-5)


def test_painting_reaches_exactly_what_is_painted():
    quality = random_map()
    paint = torch.zeros(1, quality.height, quality.width)
    paint[:, :16, :16] = 1
    edited = edit_quality(quality, override=paint, override_quality=1.5)
    assert torch.allclose(edited.scores[:, 0, 0, 0], torch.tensor(1.5), atol=0.2)
    assert torch.allclose(edited.scores[..., 2:, 2:], quality.scores[..., 2:, 2:], atol=1e-5)
    whole = edit_quality(quality, override=torch.ones(2, 3, 3), override_quality=4.5, maximum=2)
    assert (whole.scores == 4.5).all()


def test_paint_finer_than_the_map():
    quality = QualityMap(torch.full((1, 1, 1, 1), 5.0), 160, 160, "global")
    paint = torch.zeros(1, 160, 160)
    paint[:, :80] = 1
    edited = edit_quality(quality, override=paint).cells()
    expected = torch.tensor([1.0, 5.0]).repeat_interleave(5).view(1, 1, 10, 1).expand(1, 1, 10, 10)
    assert torch.allclose(edited, expected, atol=1e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"gain": -1}, "gain"),
        ({"gain": float("nan")}, "gain"),
        ({"blur": float("inf")}, "blur"),
        ({"minimum": 0}, "minimum"),
        ({"maximum": 6}, "maximum"),
        ({"minimum": 4, "maximum": 2}, "above maximum"),
        ({"override_quality": 0.5}, "override_quality"),
        ({"override": torch.ones(3, 4, 4)}, "override: 3 masks for 2 maps"),
        ({"override": torch.ones(4, 4)}, "override: shape"),
    ],
)
def test_edits_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        edit_quality(random_map(), **change)


def test_nan_paint_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        edit_quality(random_map(), override=torch.full((1, 8, 8), float("nan")))


def test_quality_and_severity_are_one_scale():
    severity = torch.linspace(0, 1, 9)
    assert torch.equal(severity_of(quality_of(severity)), severity)
    assert (quality_of(0.0), quality_of(1.0)) == (HIGHEST, LOWEST)
    assert torch.equal(severity_of(torch.tensor([0.0, 6.0])), torch.tensor([1.0, 0.0]))
