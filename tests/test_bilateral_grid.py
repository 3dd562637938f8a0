"""The bilateral grid: what it hears of the damage, and when it is used."""

import pytest
import torch

from adaqual_core.kinds import KINDS
from adaqual_core.networks.bilateral_grid import severity_where_present, view_of
from adaqual_core.networks.tone import grid_gate


def a_view(kinds: torch.Tensor) -> torch.Tensor:
    picture = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    return view_of(picture, kinds.amax(1, keepdim=True), kinds)


def test_an_assessor_that_errs_from_place_to_place_gives_an_even_view():
    kinds = torch.rand(1, len(KINDS), 6, 8, generator=torch.Generator().manual_seed(1))
    told = a_view(kinds)[:, -len(KINDS) - 1 :]
    assert float(told.flatten(2).std(2).max()) == 0
    assert float(told.std((1, 2, 3))) > 0


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
