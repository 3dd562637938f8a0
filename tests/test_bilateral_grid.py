"""The bilateral grid: what it hears of the damage, and when it is used."""

import pytest
import torch

from adaqual_core.filters import luma
from adaqual_core.grid import severity_where_present
from adaqual_core.kinds import KINDS, TONAL
from adaqual_core.networks.bilateral_grid import CHANNELS, VIEW, sliced, view_of
from adaqual_core.networks.tone import grid_gate


def a_view(kinds: torch.Tensor) -> torch.Tensor:
    picture = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    return view_of(picture, kinds.amax(1, keepdim=True), kinds)


def test_an_assessor_that_errs_from_place_to_place_gives_an_even_view():
    kinds = torch.rand(1, len(KINDS), 6, 8, generator=torch.Generator().manual_seed(1))
    told = a_view(kinds)[:, -len(KINDS) - 1 :]
    assert float(told.flatten(2).std(2).max()) == 0
    assert float(told.std((1, 2, 3))) > 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in TONAL])
def test_how_bad_other_damage_makes_the_picture_is_not_heard(kind):
    kinds = torch.zeros(1, len(KINDS), 6, 8)
    kinds[:, KINDS.index(kind)], kinds[:, KINDS.index("low")] = 0.9, 0.1
    picture = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    told = [view_of(picture, torch.full((1, 1, 6, 8), severity), kinds) for severity in (0.1, 0.5, 1.0)]
    assert torch.equal(told[0], told[1]) and torch.equal(told[0], told[2])
    assert not torch.equal(told[0], view_of(picture, torch.full((1, 1, 6, 8), 0.05), kinds))


def test_where_the_damage_lies_does_not_matter():
    kinds = torch.rand(1, len(KINDS), 6, 8, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(a_view(kinds), a_view(kinds.flip(2, 3)), atol=1e-6)


@pytest.mark.parametrize("severity", [0.0, 0.05, 0.6, 1.0])
@pytest.mark.parametrize("share", [1, 2, 4])
def test_damage_of_a_part_is_as_severe_as_the_same_damage_everywhere(severity, share):
    damage = torch.zeros(1, 1, 8, 8)
    damage[:, :, : 8 // share] = severity
    assert float(severity_where_present(damage)) == pytest.approx(severity, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_only_darkness_and_haze_change_the_tone(kind):
    kinds = torch.zeros(1, len(KINDS), 6, 8)
    kinds[:, KINDS.index(kind), 2:5] = 0.3
    assert float(grid_gate(kinds)) == float(kind in ("low", "haze"))


def test_faint_alarms_leave_the_tone_as_it_is():
    kinds = torch.full((1, len(KINDS), 6, 8), 0.04)
    assert float(grid_gate(kinds)) == 0
    assert 0 < float(grid_gate(kinds * 3)) < 1


def test_slices_are_the_affine_change_of_place_and_luma():
    """A grid that is linear in height and luma is sliced to exactly that, between the centres of its places and levels."""
    levels, places = 5, 8
    centres, lumas = (torch.arange(places) + 0.5) / places, torch.linspace(0, 1, levels)
    grid = torch.zeros(1, 3, 4, levels, places, places)
    grid[0, 1, 2] = centres[None, :, None].expand(levels, places, places)  # green takes blue times height
    grid[0, 0, 3] = lumas[:, None, None].expand(levels, places, places)  # red takes the luma
    colours = torch.rand(1, 3, 20, 30, generator=torch.Generator().manual_seed(1))
    y, x = torch.linspace(0.1, 0.9, 20)[None], torch.linspace(0.1, 0.9, 30)[None]
    change = sliced(grid.flatten(1, 2), colours, y, x)
    assert torch.allclose(change[:, 0], luma(colours)[:, 0], atol=1e-5)
    assert torch.allclose(change[:, 1], colours[:, 2] * y[:, :, None], atol=1e-5)
    assert change[:, 2].abs().max() == 0


@pytest.mark.parametrize("height, width", [(1, 1), (3, 700), (128, 128), (900, 640)])
def test_the_view_of_a_flat_picture_is_the_same_at_any_size(height, width):
    def flat(h: int, w: int) -> torch.Tensor:
        colours = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(1, 3, h, w)
        return view_of(colours, torch.full((1, 1, 2, 2), 0.25), torch.full((1, len(KINDS), 2, 2), 0.25))

    assert flat(height, width).shape == (1, CHANNELS, VIEW, VIEW)
    assert torch.allclose(flat(height, width), flat(256, 256), atol=1e-6)
