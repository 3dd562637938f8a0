"""Run inside ComfyUI's Python (see tests/inside_items.py): guidance and conditioning checked on a small SD 1.5."""

from dataclasses import replace

import pytest
import torch
from inside import Clip, differ, guided_as_by_hand, refused, sd15
from pack.adaqual_core.steer.text import DIRECTIVES, PRESERVE
from pack.nodes.conditioning import AdaQualAdaptiveConditioning
from pack.nodes.guider import QualityGuider
from pack.nodes.steering import AdaQualDenoiseMask

CASE = sd15()
CLIP = Clip()
RAMP = CASE.map(torch.linspace(5, 1, 64).reshape(1, 1, 1, 64).repeat(1, 1, 64, 1))
TEXTS = ("the whole", "a house", "unchanged", "\n".join(["sharper", "cleaner", "deeper light", "rebuilt whole walls"]))
DEFAULT = ("the whole", "", PRESERVE, "\n".join(DIRECTIVES))


def test_guidance_is_as_by_hand():
    guided_as_by_hand("SD 1.5", CASE)
    assert isinstance(CASE.guider(RAMP), QualityGuider)


def test_a_nearly_even_map_is_plain_guidance():
    nearly = CASE.map(torch.full((1, 1, 8, 8), 3.0).index_fill(3, torch.tensor([0]), 3.0 - 1e-6))
    assert differ(CASE.steered(nearly), CASE.plain(4.5)) <= 1e-5  # through the path of uneven maps


def test_the_good_side_is_kept():
    good, bad = CASE.sides(CASE.steered(CASE.halves(), 3, preservation=1.0))
    assert differ(good, CASE.sides(CASE.latent)[0]) <= 1e-5 and differ(bad, CASE.sides(CASE.latent)[1]) > 1e-2


def test_without_a_negative_text_there_is_no_guidance():
    alone = replace(CASE, negative=[])
    assert differ(alone.steered(alone.halves()), alone.plain(1.0)) <= 1e-5


def test_another_patchs_guidance_function_gets_the_scale_as_a_tensor():
    scales = []
    patched = CASE.model.clone()

    def theirs(given: dict) -> torch.Tensor:
        scales.append(given["cond_scale"])
        return given["uncond"] + (given["cond"] - given["uncond"]) * given["cond_scale"]

    patched.set_model_sampler_cfg_function(theirs)
    assert differ(replace(CASE, model=patched).steered(CASE.halves()), CASE.steered(CASE.halves())) <= 1e-5
    assert scales[0].shape == (1, 1, 8, 8)


def test_the_network_is_asked_as_often_as_by_comfyuis_guider():
    asked = []
    counted = CASE.model.clone()

    def wrapper(run, given: dict) -> torch.Tensor:
        asked.append(len(given["input"]))
        return run(given["input"], given["timestep"], **given["c"])

    counted.set_model_unet_function_wrapper(wrapper)
    case = replace(CASE, model=counted)
    case.plain(7.0, 3)
    assert asked == [4] * 3  # two pictures with both texts at once
    case.steered(CASE.halves(), 3, preservation=0.5)
    assert asked == [4] * 6


def test_a_noise_mask_keeps_the_good_side():
    masked = AdaQualDenoiseMask.execute({"samples": CASE.latent}, CASE.halves(), 0.0, 1.0, 1.0).args[0]
    good, bad = CASE.sides(CASE.steered(CASE.halves(), denoise_mask=masked["noise_mask"]))
    assert differ(good, CASE.sides(CASE.latent)[0]) <= 1e-5 and differ(bad, CASE.sides(CASE.latent)[1]) > 1e-2


def words(text: str) -> int:
    """The number of tokens of a text without its start and end."""
    return sum(token not in (49406, 49407) for chunk in CLIP.tokenizer.tokenize_with_weights(text)["l"] for token, _ in chunk)


@pytest.mark.parametrize("bands, said", [(n, TEXTS) for n in range(2, 6)] + [(n, DEFAULT) for n in range(2, 7)])
def test_texts_grow_and_masks_part_the_picture(bands, said):
    CLIP.texts.clear()
    conditioning, masks, prompt = AdaQualAdaptiveConditioning.execute(CLIP, RAMP, bands, 0.5, *said, 0.5, 2.0).args
    lengths = [words(text) for text in CLIP.texts[1:]]
    assert len(lengths) == bands and lengths == sorted(set(lengths)), lengths
    assert masks.shape == (bands, 64, 64) and differ(masks.sum(0), torch.ones(64, 64)) <= 1e-6
    strengths = torch.tensor([c[1]["mask_strength"] for c in conditioning[1:]])
    assert len(strengths) == bands and differ(strengths, torch.linspace(0.5, 2, bands)) <= 1e-6
    assert all(text in prompt for text in CLIP.texts)


def test_the_prediction_is_the_mean_of_each_texts_weighted_by_mask_and_strength():
    conditioning, masks, _ = AdaQualAdaptiveConditioning.execute(CLIP, CASE.halves(), 2, 0.0, *TEXTS, 0.5, 2.0).args
    seen = {}
    spied = CASE.model.clone()

    def wrapper(apply_model, given: dict) -> torch.Tensor:
        for context in given["c"]["c_crossattn"]:
            seen[float(context.sum())] = context
        return apply_model(given["input"], given["timestep"], **given["c"])

    spied.set_model_unet_function_wrapper(wrapper)
    steered = replace(CASE, model=spied, positive=conditioning, negative=[]).plain(1.0)
    assert len(seen) == 3
    apart = []
    for embedding, _ in conditioning:
        apart.append(replace(CASE, positive=[[embedding, {}]], negative=[]).plain(1.0))
        assert any(
            c.shape[-2] >= embedding.shape[1] and torch.equal(c[: embedding.shape[1]], embedding[0]) for c in seen.values()
        )
    reduced = torch.nn.functional.interpolate(masks[:, None], (8, 8), mode="bilinear")[:, 0]
    weight = [torch.ones(8, 8), 0.5 * reduced[0], 2.0 * reduced[1]]
    wanted = sum(a * w for a, w in zip(apart, weight, strict=True)) / sum(weight)
    print("conditioning", differ(steered, wanted))
    assert differ(steered, wanted) <= 1e-4
    guided_as_by_hand("adaptive conditioning", replace(CASE, positive=conditioning))


@pytest.mark.parametrize("score", [5.0, 1.0])
def test_an_even_picture_gets_the_text_of_the_whole_and_that_of_one_band(score):
    assert len(AdaQualAdaptiveConditioning.execute(CLIP, CASE.flat(score), 4, 0.5, *TEXTS, 1.0, 1.0).args[0]) == 2


def test_no_text_for_the_whole_is_refused_where_a_strength_is_zero():
    refused("global_text", lambda: AdaQualAdaptiveConditioning.execute(CLIP, RAMP, 4, 0.5, "", *TEXTS[1:], 0.0, 1.0))
