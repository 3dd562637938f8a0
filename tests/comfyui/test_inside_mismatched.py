"""Run inside ComfyUI's Python (see tests/inside_items.py): what steering nodes do with inputs that do not belong together."""

from dataclasses import replace

import pytest
import torch

# inside starts ComfyUI, so it comes first
# isort: off
from inside import Case, Clip, differ, refused, sd15
from pack.adaqual_core.quality.map import QualityMap
from pack.nodes.blending import AdaQualBestPerRegion, AdaQualBlend
from pack.nodes.conditioning import AdaQualAdaptiveConditioning
from pack.nodes.steering import AdaQualDenoiseMask

CASE = sd15()  # two pictures of 64×64 px
CLIP = Clip()
THREE = CASE.flat(3.0, 3)
WIDE = QualityMap(torch.full((1, 1, 4, 8), 3.0), 64, 128, "test")
LARGER = QualityMap(CASE.halves().scores, 512, 512, "test")  # the same picture before it was scaled to the latent's size


# Quality Guider
def test_the_guider_refuses_what_does_not_fit():
    refused("3 maps for 2 latents", lambda: CASE.steered(THREE))
    refused("128×64 picture does not fit a latent of 8×8 cells", lambda: CASE.steered(WIDE))
    refused("VAE Encode", lambda: CASE.sample(CASE.guider(CASE.flat(5.0), preservation=0.5), latent=torch.zeros(2, 4, 8, 8)))


def test_the_guider_takes_the_map_of_the_picture_at_another_scale():
    assert differ(CASE.steered(LARGER), CASE.steered(CASE.halves())) == 0


def test_the_guider_takes_a_map_per_picture():
    each = CASE.steered(CASE.map(torch.tensor([5.0, 1.0]).view(2, 1, 1, 1)))
    for index, cfg in enumerate((2.0, 7.0)):
        assert differ(each[index], CASE.plain(cfg)[index]) <= 1e-5


# Quality Denoise Mask
def mask(quality, **more) -> torch.Tensor:
    """The noise mask that the node makes of a map."""
    return AdaQualDenoiseMask.execute({"samples": CASE.latent} | more, quality, 0.0, 1.0, 1.0).args[0]["noise_mask"]


def test_the_denoise_mask_refuses_what_does_not_fit():
    refused("3 maps for 2 latents", lambda: mask(THREE))
    refused("128×64 picture does not fit", lambda: mask(WIDE))
    refused("3 masks beside 2 quality maps", lambda: mask(CASE.flat(3.0, 2), noise_mask=torch.ones(3, 1, 64, 64)))


def test_the_denoise_mask_takes_the_map_of_the_picture_at_another_scale():
    assert differ(mask(LARGER), mask(CASE.halves())) == 0


def test_an_earlier_mask_limits_the_denoise_mask():
    assert mask(CASE.flat(1.0), noise_mask=torch.full((2, 64, 64), 0.5)).flatten(1).tolist() == [[0.5] * 64] * 2


@pytest.mark.parametrize("score, wanted", [(5.0, 0.0), (1.0, 1.0)])
def test_the_denoise_mask_of_an_even_map_is_even(score, wanted):
    assert mask(CASE.flat(score)).unique().tolist() == [wanted]


def test_the_rest_of_a_latent_is_kept_and_the_given_one_left_alone():
    given = {"samples": CASE.latent, "batch_index": [3, 4]}
    assert AdaQualDenoiseMask.execute(given, CASE.flat(1.0), 0.0, 1.0, 1.0).args[0]["batch_index"] == [3, 4]
    assert "noise_mask" not in given


# Adaptive Conditioning
SAMPLES = {"samples": CASE.latent}


def said(quality, clip=CLIP, **more) -> list:
    """The conditioning of two bands for a map."""
    return AdaQualAdaptiveConditioning.execute(clip, quality, 2, 0.0, "", "", "unchanged", "rebuilt", 1.0, 1.0, **more).args[0]


def predicted(conditioning: list, case: Case = CASE) -> torch.Tensor:
    """What the model predicts for a conditioning."""
    return replace(case, positive=conditioning, negative=[]).plain(1.0)


def test_the_conditioning_refuses_what_does_not_fit():
    refused("Load CLIP", lambda: said(CASE.halves(), clip=None))
    refused("3 maps for 2 latents", lambda: said(THREE, samples=SAMPLES))
    refused("128×64 picture does not fit", lambda: said(WIDE, samples=SAMPLES))


def test_the_conditioning_of_the_picture_at_another_scale_predicts_the_same():
    same = predicted(said(CASE.halves(), samples=SAMPLES))
    assert differ(predicted(said(LARGER, samples=SAMPLES)), same) <= 1e-5
    assert differ(predicted(said(LARGER)), same) <= 1e-5 and differ(predicted(said(CASE.halves())), same) <= 1e-5
    stretched = QualityMap(CASE.halves().scores, 64, 128, "test")  # without a latent, ComfyUI stretches the masks
    assert differ(predicted(said(stretched)), same) <= 1e-5


@pytest.mark.parametrize("score", [5.0, 1.0])
def test_an_even_map_gives_one_band_everywhere(score):
    ((_, band),) = said(CASE.flat(score))
    assert band["mask"].shape == (1, 64, 64) and bool((band["mask"] == 1).all())


# Quality Blend
def blended(original, processed, quality, levels=3) -> torch.Tensor:
    """What Quality Blend makes of two pictures and a map."""
    return AdaQualBlend.execute(original, processed, quality, 4.5, levels).args[0]


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """Two random pictures, and two of twice the size."""
    return torch.rand(2, 64, 64, 3), torch.rand(2, 128, 128, 3)


def test_blend_refuses_what_does_not_fit(pictures):
    before, after = pictures
    refused("original: 2 for 3 processed", lambda: blended(before, torch.rand(3, 128, 128, 3), CASE.flat(3.0)))
    refused("quality: 3 for 2 processed", lambda: blended(before, after, THREE))
    refused("map of the original", lambda: blended(before, after, WIDE))
    refused("same picture at another scale", lambda: blended(before, torch.rand(2, 128, 256, 3), CASE.flat(3.0)))


def test_blend_takes_one_side_where_the_map_is_even(pictures):
    before, after = pictures
    assert differ(blended(before, after, CASE.flat(1.0)), after) <= 1e-5
    assert differ(blended(before, before.flip(0), CASE.flat(5.0)), before) <= 1e-5


def test_blend_takes_one_original_for_all(pictures):
    before, after = pictures
    together = blended(before[:1], after, CASE.halves())
    assert together.shape == after.shape
    for index in (0, 1):
        assert differ(together[index : index + 1], blended(before[:1], after[index : index + 1], CASE.halves())) == 0


# Best Per Region
def best(*versions) -> tuple:
    """Picture and choice of Best Per Region."""
    return AdaQualBestPerRegion.execute(versions[0], 3, *versions[1:]).args


CLEAN = torch.linspace(0, 1, 64).view(1, 1, 64, 1).expand(1, 64, 64, 3).contiguous()


@pytest.fixture
def noisy() -> torch.Tensor:
    """The clean picture with noise."""
    return (CLEAN + 0.3 * torch.randn(1, 64, 64, 3)).clamp(0, 1)


def test_best_refuses_what_does_not_fit():
    refused("one picture only", lambda: best(CLEAN))
    refused("version 1: 2 pictures beside 3", lambda: best(CLEAN.repeat(2, 1, 1, 1), CLEAN.repeat(3, 1, 1, 1)))
    refused("same picture at another scale", lambda: best(CLEAN, torch.rand(1, 64, 100, 3)))


def test_best_chooses_the_clean_version(noisy):
    picture, choice = best(noisy, CLEAN)
    assert picture.shape == (1, 64, 64, 3) and choice.mean() > 0.9 and differ(picture, CLEAN) < differ(noisy, CLEAN)
    picture, choice = best(CLEAN, CLEAN)
    assert differ(picture, CLEAN) <= 1e-5 and not choice.any()


def test_best_takes_one_second_version_for_all(noisy):
    several, _ = best(torch.cat((noisy, CLEAN)), CLEAN)
    assert several.shape == (2, 64, 64, 3) and differ(several[:1], best(noisy, CLEAN)[0]) == 0


def test_best_takes_a_batch_as_the_versions(noisy):
    versions, choice = best(torch.cat((noisy, CLEAN, noisy)))
    assert versions.shape == (1, 64, 64, 3) and set(choice.unique().tolist()) <= {0.0, 0.5, 1.0}


def test_best_takes_a_grey_batch_as_the_versions(noisy):
    versions = torch.cat((noisy, CLEAN))[..., :1]
    assert differ(best(versions)[0], best(versions.expand(-1, -1, -1, 3))[0]) == 0


def test_best_chooses_alpha_with_the_picture(noisy):
    transparent = torch.cat((CLEAN, torch.full((1, 64, 64, 1), 0.25)), 3)
    picture, choice = best(noisy, transparent)
    assert picture.shape == (1, 64, 64, 4) and abs(float(picture[..., 3][choice == 1].min()) - 0.25) < 0.05


def test_several_latents_at_once_are_refused():
    nested = pytest.importorskip("comfy.nested_tensor", reason="this ComfyUI has no latents of several parts")
    latents = nested.NestedTensor([CASE.latent, CASE.latent])
    refused("several latents at once", lambda: CASE.guider(CASE.flat(5.0)).sample(latents, latents, None, torch.ones(2)))
    refused("several latents at once", lambda: mask(CASE.flat(5.0), samples=latents))
    refused("several latents at once", lambda: said(CASE.flat(5.0), samples={"samples": latents}))
