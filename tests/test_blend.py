"""Multi-band blending, and the best version of each region."""

import pytest
import small
import torch
from comfy_server import REPOSITORY

from adaqual_core.assessor import estimate_quality
from adaqual_core.blend import best_per_region, blend, check_proportions, multiband
from adaqual_core.checkpoint import load_assessor
from adaqual_core.degrade import degrade
from adaqual_core.evaluate import psnr
from adaqual_core.imageio import read_picture


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
    check_proportions("original", (101, 67), (404, 268))
    with pytest.raises(ValueError, match="same picture at another scale"):
        check_proportions("original", (100, 100), (400, 300))


def test_best_per_region_beats_each_version_and_shows_no_seam():
    clean = read_picture(REPOSITORY / "pictures" / "example_clean.png")[..., :256, :256]
    clean = clean if clean.ndim == 4 else clean[None]
    versions = []
    for index, kind in enumerate(("noise", "blur", "jpeg", "noise")):
        mask = torch.zeros(256, 256)
        mask[128 * (index // 2) : 128 * (index // 2) + 128, 128 * (index % 2) : 128 * (index % 2) + 128] = 1
        versions.append(degrade(clean[0, :3], [kind], 0.9, seed=index, mask=mask[None]).picture)
    assessor = load_assessor()
    maps = [estimate_quality(assessor, one[None]) for one in versions]
    best, chosen = best_per_region(versions, maps, 4)
    single = max(float(psnr(one[None], clean[:, :3])) for one in versions)
    assert float(psnr(best[None], clean[:, :3])) >= single + 2
    for axis in (1, 2):
        border = chosen.diff(dim=axis - 1) != 0
        steps = torch.stack([one.diff(dim=axis).abs().amax(0) for one in versions]).amax(0)
        assert float(best.diff(dim=axis).abs().amax(0)[border].mean()) <= float(steps[border].mean())
