"""Multi-band blending, and the best version of each region."""

import pytest
import small
import torch
from comfy_server import REPOSITORY

from adaqual_core.damage import degrade
from adaqual_core.evaluate import psnr
from adaqual_core.imageio import read_picture
from adaqual_core.quality.map import QualityMap
from adaqual_core.quality.reference import reference_quality
from adaqual_core.steer.blend import best_per_region, blend, choose, multiband


def test_equal_versions_give_themselves():
    one = small.picture(45, 67)
    weight = torch.rand(1, 1, 45, 67)
    both = multiband(torch.cat((one, one)), torch.cat((weight, 1 - weight)), 4)
    assert torch.allclose(both, one[0], atol=1e-5)


@pytest.mark.parametrize(("part", "taken"), [(0.0, 0), (1.0, 1)])
def test_all_good_and_all_bad_maps_give_one_side_whole(part, taken):
    sides = small.picture(48, 64, seed=1)[0], small.picture(48, 64, seed=2)[0]
    result = blend(*sides, torch.full((1, 1, 3, 4), part), 4)
    assert torch.allclose(result, sides[taken], atol=1e-5)


def test_the_original_is_enlarged_and_alpha_kept():
    original, processed = small.picture(40, 60, channels=4)[0], small.picture(160, 240)[0]
    result = blend(original, processed, torch.ones(1, 1, 3, 4), 4)
    assert result.shape == (4, 160, 240)


def test_another_picture_is_refused():
    with pytest.raises(ValueError, match="same picture at another scale"):
        blend(small.picture(100, 100)[0], small.picture(300, 400)[0], torch.ones(1, 1, 3, 4), 4)


def damaged_in_one_quarter_each(kinds: tuple[str, ...], side: int = 256) -> tuple[torch.Tensor, list[torch.Tensor]]:
    clean, half, versions = read_picture(REPOSITORY / "pictures" / "example_clean.png")[0, :3, :side, :side], side // 2, []
    for index, kind in enumerate(kinds):
        mask = torch.zeros(1, side, side)
        top, left = half * (index // 2), half * (index % 2)
        mask[:, top : top + half, left : left + half] = 1
        versions.append(degrade(clean, [kind], 0.9, seed=index, mask=mask).picture)
    return clean, versions


@pytest.mark.parametrize("kinds", [("noise", "blur", "jpeg", "haze"), ("low", "rain", "snow", "noise")], ids="-".join)
def test_best_per_region_beats_each_version_and_shows_no_seam(kinds):
    clean, versions = damaged_in_one_quarter_each(kinds)
    maps = [QualityMap(reference_quality(one[None], clean[None]), *clean.shape[-2:], "reference") for one in versions]
    best, chosen = best_per_region(versions, maps, 4)
    gains = [float(psnr(best[None], clean[None]) - psnr(one[None], clean[None])) for one in versions]
    print("gain over the best single copy", min(gains))
    assert min(gains) >= 2
    for axis in (1, 2):
        border = chosen.diff(dim=axis - 1) != 0
        own = torch.stack([one.diff(dim=axis).abs().amax(0)[border] for one in versions])
        found = best.diff(dim=axis).abs().amax(0)[border]
        print("gradient across borders", float(found.mean()), "of the copies", own.mean(1))
        assert float(found.mean()) <= float(own.mean(1).max())
        assert float((found - own.amax(0)).max()) <= 4 / 255  # at no single place a step that no copy has


def test_where_versions_are_alike_the_choice_holds_together():
    rough = 4 + torch.rand(2, 1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    alike = [QualityMap(one, 256, 256, "test") for one in rough]
    better = QualityMap((rough[1] + 0.1).clamp(max=5), 256, 256, "test")
    assert (choose([alike[0], better]) == 1).float().mean() > 0.9
    same = choose([alike[0], alike[0]])
    assert (same == 0).all()


def test_a_version_without_alpha_counts_as_opaque():
    first, second = small.picture(32, 48, channels=4, seed=1)[0], small.picture(32, 48, seed=2)[0]
    first[3] = 0.25
    scores = torch.full((1, 1, 2, 3), 5.0)
    scores[..., :1] = 1.0
    maps = [QualityMap(6 - scores, 32, 48, "test"), QualityMap(scores, 32, 48, "test")]
    joined, chosen = best_per_region([first, second], maps, 0)
    assert joined.shape == (4, 32, 48) and chosen[0].tolist() == [0] * 16 + [1] * 32
    assert torch.allclose(joined[3, :, :8], torch.tensor(0.25)) and torch.allclose(joined[3, :, -24:], torch.tensor(1.0))
    assert torch.allclose(joined[:3, :, :8], first[:3, :, :8]) and torch.allclose(joined[:3, :, -24:], second[..., -24:])


def test_numbers_of_versions_and_maps_must_agree():
    one = small.picture(32, 48)[0]
    with pytest.raises(ValueError, match="versions: 1 with 1 maps"):
        best_per_region([one], [QualityMap(torch.ones(1, 1, 2, 3), 32, 48, "test")], 4)
    with pytest.raises(ValueError, match="versions: 2 with 1 maps"):
        best_per_region([one, one], [QualityMap(torch.ones(1, 1, 2, 3), 32, 48, "test")], 4)
