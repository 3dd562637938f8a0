import itertools

import pytest
import torch
from small import flat_map

from adaqual_core.kinds import KINDS
from adaqual_core.quality.heatmap import colour_table, grey_map, heatmap, kinds_sheet
from adaqual_core.quality.map import QualityMap
from adaqual_core.quality.set_damage import set_damage


def lightness(colours):
    """CIE L* of sRGB colours [..., 3]."""
    linear = torch.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    y = linear @ torch.tensor([0.2126, 0.7152, 0.0722])
    return torch.where(y > 0.008856, 116 * y ** (1 / 3) - 16, 903.3 * y)


def test_lightness_rises_evenly():
    levels = lightness(colour_table())
    steps = levels.diff()
    assert colour_table().shape == (256, 3)
    assert (steps > 0).all() and levels[-1] - levels[0] > 70
    assert steps.max() < 3 * steps.median()


def test_the_scale_is_fixed():
    table = colour_table()
    for score, index in ((1.0, 0), (3.0, 128), (5.0, 255)):
        found = heatmap(flat_map(20, 30, score), legend=False)
        assert found.shape == (1, 3, 20, 30)
        assert torch.allclose(found, table[index].view(1, 3, 1, 1).expand_as(found), atol=0.01)


@pytest.mark.parametrize("height, width", [(1, 1), (7, 300), (100, 40), (200, 640)])
def test_the_legend_lies_below_and_shows_the_scale(height, width):
    found = heatmap(QualityMap(torch.full((2, 1, 1, 1), 2.0), height, width, "test"))
    assert found.shape[:2] == (2, 3) and found.shape[2] > height and found.shape[3] == width
    assert found.min() >= 0 and found.max() <= 1
    plain = heatmap(QualityMap(torch.full((2, 1, 1, 1), 2.0), height, width, "test"), legend=False)
    assert torch.equal(found[:, :, :height], plain)
    bottom = found[0, :, -1].T
    assert torch.allclose(bottom[0], colour_table()[0], atol=1 / 255)
    if width > 1:
        assert torch.allclose(bottom[-1], colour_table()[-1], atol=1 / 255)


def test_the_legend_is_numbered():
    strip = heatmap(flat_map(16, 640, 3.0))[0, :, 16:]
    plain = strip[:, -1:].expand_as(strip)  # the lowest row holds no text
    written = ((strip - plain).abs().amax((0, 1)) > 0.1).nonzero().flatten()
    groups = 1 + int((written.diff() > 20).sum())
    assert groups == 5


def test_grey_map():
    scores = torch.tensor([[[[1.0, 2.0], [3.0, 5.0]]]])
    assert torch.allclose(grey_map(QualityMap(scores, 2, 2, "test")), torch.tensor([[[[0, 0.25], [0.5, 1]]]]))
    assert grey_map(QualityMap(scores, 33, 17, "test")).shape == (1, 1, 33, 17)


@pytest.mark.parametrize("height, width", [(1, 1), (7, 3000), (3000, 7), (200, 320)])
def test_the_sheet_shows_every_kind_by_name(height, width):
    plain = set_damage(flat_map(height, width, 5.0), "low", 0.0)
    sheets = [kinds_sheet(plain)] + [kinds_sheet(set_damage(plain, kind, 1.0)) for kind in KINDS]
    assert len({sheet.shape for sheet in sheets}) == 1
    differing = [(sheet - sheets[0]).abs().amax((0, 1)) > 0.2 for sheet in sheets[1:]]
    assert all(bool(where.any()) for where in differing)
    for one, other in itertools.pairwise(differing):  # each kind has a place of its own
        assert not bool((one & other).any())


def test_the_sheet_needs_kinds():
    with pytest.raises(ValueError, match="names no kinds of damage"):
        kinds_sheet(flat_map(32, 32, 3.0))
