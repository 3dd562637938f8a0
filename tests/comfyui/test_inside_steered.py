"""Run by test_steering.py inside ComfyUI's Python: guidance and conditioning checked on a small SD 1.5."""

from dataclasses import replace

import torch
from inside import Clip, differ, guided_as_by_hand, refused, sd15
from pack.adaqual_core.steer.text import DIRECTIVES, PRESERVE
from pack.nodes.guider import QualityGuider
from pack.nodes.steering import AdaQualAdaptiveConditioning, AdaQualDenoiseMask

CASE = sd15()
halves = guided_as_by_hand("SD 1.5", CASE)
nearly = CASE.map(torch.full((1, 1, 8, 8), 3.0).index_fill(3, torch.tensor([0]), 3.0 - 1e-6))
assert differ(CASE.steered(nearly), CASE.plain(4.5)) <= 1e-5  # through the path of uneven maps

good, bad = CASE.sides(CASE.steered(CASE.halves(), 3, preservation=1.0))
assert differ(good, CASE.sides(CASE.latent)[0]) <= 1e-5 and differ(bad, CASE.sides(CASE.latent)[1]) > 1e-2
alone = replace(CASE, negative=[])
assert differ(alone.steered(alone.halves()), alone.plain(1.0)) <= 1e-5

# a guidance function that another patch brought gets the scale as a tensor
scales = []
patched = CASE.model.clone()


def theirs(given):
    scales.append(given["cond_scale"])
    return given["uncond"] + (given["cond"] - given["uncond"]) * given["cond_scale"]


patched.set_model_sampler_cfg_function(theirs)
assert differ(replace(CASE, model=patched).steered(CASE.halves()), halves) <= 1e-5
assert scales[0].shape == (1, 1, 8, 8)

# the network is asked as often, and for as much at once, as by ComfyUI's guider
asked = []
counted = CASE.model.clone()
counted.set_model_unet_function_wrapper(lambda run, given: asked.append(len(given["input"])) or
                                        run(given["input"], given["timestep"], **given["c"]))  # fmt: skip
counted = replace(CASE, model=counted)
counted.plain(7.0, 3)
assert asked == [4] * 3  # two pictures with both texts at once
counted.steered(CASE.halves(), 3, preservation=0.5)
assert asked == [4] * 6

masked = AdaQualDenoiseMask.execute({"samples": CASE.latent}, CASE.halves(), 0.0, 1.0, 1.0).args[0]
good, bad = CASE.sides(CASE.steered(CASE.halves(), denoise_mask=masked["noise_mask"]))
assert differ(good, CASE.sides(CASE.latent)[0]) <= 1e-5 and differ(bad, CASE.sides(CASE.latent)[1]) > 1e-2


def words(clip, text) -> int:
    return sum(token not in (49406, 49407) for chunk in clip.tokenizer.tokenize_with_weights(text)["l"] for token, _ in chunk)


CLIP = Clip()
ramp = CASE.map(torch.linspace(5, 1, 64).reshape(1, 1, 1, 64).repeat(1, 1, 64, 1))
texts = ("the whole", "a house", "unchanged", "\n".join(["sharper", "cleaner", "deeper light", "rebuilt whole walls"]))
default = ("the whole", "", PRESERVE, "\n".join(DIRECTIVES))
for bands, said in [(bands, texts) for bands in range(2, 6)] + [(bands, default) for bands in range(2, 7)]:
    CLIP.texts.clear()
    conditioning, masks, prompt = AdaQualAdaptiveConditioning.execute(CLIP, ramp, bands, 0.5, *said, 0.5, 2.0).args
    lengths = [words(CLIP, text) for text in CLIP.texts[1:]]
    assert len(lengths) == bands and lengths == sorted(set(lengths)), lengths
    assert masks.shape == (bands, 64, 64) and differ(masks.sum(0), torch.ones(64, 64)) <= 1e-6
    strengths = torch.tensor([c[1]["mask_strength"] for c in conditioning[1:]])
    assert len(strengths) == bands and differ(strengths, torch.linspace(0.5, 2, bands)) <= 1e-6
    assert all(text in prompt for text in CLIP.texts)

# what reaches the model: its prediction is the mean of each text's prediction, weighted by mask and strength
conditioning, masks, _ = AdaQualAdaptiveConditioning.execute(CLIP, CASE.halves(), 2, 0.0, *texts, 0.5, 2.0).args
seen = {}
spy = CASE.model.clone()


def wrapper(apply_model, given):
    for context in given["c"]["c_crossattn"]:
        seen[float(context.sum())] = context
    return apply_model(given["input"], given["timestep"], **given["c"])


spy.set_model_unet_function_wrapper(wrapper)
steered = replace(CASE, model=spy, positive=conditioning, negative=[]).plain(1.0)
assert len(seen) == 3
apart = []
for embedding, _ in conditioning:
    apart.append(replace(CASE, positive=[[embedding, {}]], negative=[]).plain(1.0))
    assert any(c.shape[-2] >= embedding.shape[1] and torch.equal(c[: embedding.shape[1]], embedding[0]) for c in seen.values())
reduced = torch.nn.functional.interpolate(masks[:, None], (8, 8), mode="bilinear")[:, 0]
weight = [torch.ones(8, 8), 0.5 * reduced[0], 2.0 * reduced[1]]
wanted = sum(a * w for a, w in zip(apart, weight, strict=True)) / sum(weight)
print("conditioning", differ(steered, wanted))
assert differ(steered, wanted) <= 1e-4
guided_as_by_hand("adaptive conditioning", replace(CASE, positive=conditioning))
for score in (5.0, 1.0):  # all good, all bad: the whole picture's text and that of one band
    said = AdaQualAdaptiveConditioning.execute(CLIP, CASE.flat(score), 4, 0.5, *texts, 1.0, 1.0).args[0]
    assert len(said) == 2
refused("global_text", lambda: AdaQualAdaptiveConditioning.execute(CLIP, ramp, 4, 0.5, "", *texts[1:], 0.0, 1.0))
assert isinstance(CASE.guider(ramp), QualityGuider)
