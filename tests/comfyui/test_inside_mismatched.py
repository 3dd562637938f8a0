"""Run by test_steering.py inside ComfyUI's Python: what each steering node does with inputs that do not belong together."""

from dataclasses import replace

import torch

# inside starts ComfyUI, so it comes first
# isort: off
from inside import Case, Clip, comfy, differ, refused, sd15
import comfy.nested_tensor
from pack.adaqual_core.quality.map import QualityMap
from pack.nodes.blending import AdaQualBestPerRegion, AdaQualBlend
from pack.nodes.steering import AdaQualAdaptiveConditioning, AdaQualDenoiseMask

CASE = sd15()  # two pictures of 64×64 px
THREE = CASE.flat(3.0, 3)
WIDE = QualityMap(torch.full((1, 1, 4, 8), 3.0), 64, 128, "test")
LARGER = QualityMap(CASE.halves().scores, 512, 512, "test")  # the same picture before it was scaled to the latent's size
NESTED = comfy.nested_tensor.NestedTensor([CASE.latent, CASE.latent])

# Quality Guider
refused("3 maps for 2 latents", lambda: CASE.steered(THREE))
refused("128×64 picture does not fit a latent of 8×8 cells", lambda: CASE.steered(WIDE))
refused("VAE Encode", lambda: CASE.sample(CASE.guider(CASE.flat(5.0), preservation=0.5), latent=torch.zeros(2, 4, 8, 8)))
refused("several latents at once", lambda: CASE.guider(CASE.flat(5.0)).sample(NESTED, NESTED, None, torch.ones(2)))
assert differ(CASE.steered(LARGER), CASE.steered(CASE.halves())) == 0
each = CASE.steered(CASE.map(torch.tensor([5.0, 1.0]).view(2, 1, 1, 1)))  # a map per picture
for index, cfg in enumerate((2.0, 7.0)):
    assert differ(each[index], CASE.plain(cfg)[index]) <= 1e-5


# Quality Denoise Mask
def mask(quality, **more) -> torch.Tensor:
    return AdaQualDenoiseMask.execute({"samples": CASE.latent} | more, quality, 0.0, 1.0, 1.0).args[0]["noise_mask"]


refused("3 maps for 2 latents", lambda: mask(THREE))
refused("128×64 picture does not fit", lambda: mask(WIDE))
refused("several latents at once", lambda: mask(CASE.flat(5.0), samples=NESTED))
refused("3 masks beside 2 quality maps", lambda: mask(CASE.flat(3.0, 2), noise_mask=torch.ones(3, 1, 64, 64)))
assert differ(mask(LARGER), mask(CASE.halves())) == 0
assert mask(CASE.flat(1.0), noise_mask=torch.full((2, 64, 64), 0.5)).flatten(1).tolist() == [[0.5] * 64] * 2
for score, wanted in ((5.0, 0.0), (1.0, 1.0)):
    assert mask(CASE.flat(score)).unique().tolist() == [wanted]
given = {"samples": CASE.latent, "batch_index": [3, 4]}
assert AdaQualDenoiseMask.execute(given, CASE.flat(1.0), 0.0, 1.0, 1.0).args[0]["batch_index"] == [3, 4]
assert "noise_mask" not in given

# Adaptive Conditioning
CLIP = Clip()


def said(quality, clip=CLIP, **more) -> list:
    return AdaQualAdaptiveConditioning.execute(clip, quality, 2, 0.0, "", "", "unchanged", "rebuilt", 1.0, 1.0, **more).args[0]


def predicted(conditioning: list, case: Case = CASE) -> torch.Tensor:
    return replace(case, positive=conditioning, negative=[]).plain(1.0)


samples = {"samples": CASE.latent}
refused("Load CLIP", lambda: said(CASE.halves(), clip=None))
refused("3 maps for 2 latents", lambda: said(THREE, samples=samples))
refused("128×64 picture does not fit", lambda: said(WIDE, samples=samples))
refused("several latents at once", lambda: said(CASE.flat(5.0), samples={"samples": NESTED}))
same = predicted(said(CASE.halves(), samples=samples))
assert differ(predicted(said(LARGER, samples=samples)), same) <= 1e-5
assert differ(predicted(said(LARGER)), same) <= 1e-5 and differ(predicted(said(CASE.halves())), same) <= 1e-5
stretched = QualityMap(CASE.halves().scores, 64, 128, "test")  # unasked, ComfyUI stretches the masks
assert differ(predicted(said(stretched)), same) <= 1e-5
for score in (5.0, 1.0):  # all good, all bad: one band, everywhere
    ((_, band),) = said(CASE.flat(score))
    assert band["mask"].shape == (1, 64, 64) and bool((band["mask"] == 1).all())


# Quality Blend
def blended(original, processed, quality, levels=3) -> torch.Tensor:
    return AdaQualBlend.execute(original, processed, quality, 4.5, levels).args[0]


torch.manual_seed(0)
before, after = torch.rand(2, 64, 64, 3), torch.rand(2, 128, 128, 3)
refused("original: 2 for 3 processed", lambda: blended(before, torch.rand(3, 128, 128, 3), CASE.flat(3.0)))
refused("quality: 3 for 2 processed", lambda: blended(before, after, THREE))
refused("map of the original", lambda: blended(before, after, WIDE))
refused("same picture at another scale", lambda: blended(before, torch.rand(2, 128, 256, 3), CASE.flat(3.0)))
assert differ(blended(before, after, CASE.flat(1.0)), after) <= 1e-5
assert differ(blended(before, before.flip(0), CASE.flat(5.0)), before) <= 1e-5
together = blended(before[:1], after, CASE.halves())
assert together.shape == after.shape
for index in (0, 1):
    assert differ(together[index : index + 1], blended(before[:1], after[index : index + 1], CASE.halves())) == 0


# Best Per Region
def best(*versions) -> tuple:
    return AdaQualBestPerRegion.execute(versions[0], 3, *versions[1:]).args


clean = torch.linspace(0, 1, 64).view(1, 1, 64, 1).expand(1, 64, 64, 3).contiguous()
noisy = (clean + 0.3 * torch.randn(1, 64, 64, 3)).clamp(0, 1)
refused("one picture only", lambda: best(clean))
refused("version 1: 2 pictures beside 3", lambda: best(clean.repeat(2, 1, 1, 1), clean.repeat(3, 1, 1, 1)))
refused("same picture at another scale", lambda: best(clean, torch.rand(1, 64, 100, 3)))
picture, choice = best(noisy, clean)
assert picture.shape == (1, 64, 64, 3) and choice.mean() > 0.9 and differ(picture, clean) < differ(noisy, clean)
picture, choice = best(clean, clean)
assert differ(picture, clean) <= 1e-5 and not choice.any()
several, _ = best(torch.cat((noisy, clean)), clean)  # one second version for both
assert several.shape == (2, 64, 64, 3) and differ(several[:1], best(noisy, clean)[0]) == 0
versions, choice = best(torch.cat((noisy, clean, noisy)))  # the batch itself is the versions
assert versions.shape == (1, 64, 64, 3) and set(choice.unique().tolist()) <= {0.0, 0.5, 1.0}
transparent = torch.cat((clean, torch.full((1, 64, 64, 1), 0.25)), 3)
picture, choice = best(noisy, transparent)
assert picture.shape == (1, 64, 64, 4) and abs(float(picture[..., 3][choice == 1].min()) - 0.25) < 0.05
