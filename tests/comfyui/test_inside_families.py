"""Run inside ComfyUI's Python (see tests/inside_items.py): steering on small networks of other families.

Wan 2.1 and LTX-Video have latents of five dimensions; Flux has distilled guidance.
"""

from dataclasses import replace

import pytest
import torch
from comfy.ldm.flux.model import FluxParams
from inside import Case, Clip, comfy, differ, guided_as_by_hand, refused, small
from pack.nodes.conditioning import AdaQualAdaptiveConditioning
from pack.nodes.steering import AdaQualDenoiseMask

WAN = {
    "image_model": "wan2.1",
    "model_type": "t2v",
    "dim": 48,
    "ffn_dim": 48,
    "num_heads": 2,
    "num_layers": 1,
    "text_dim": 768,
    "freq_dim": 32,
}
LTXV = {
    "image_model": "ltxv",
    "in_channels": 128,
    "cross_attention_dim": 48,
    "attention_head_dim": 24,
    "num_attention_heads": 2,
    "caption_channels": 768,
    "num_layers": 1,
}
FLUX = {
    "image_model": "flux",
    "guidance_embed": True,
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 768,
    "context_in_dim": 768,
    "hidden_size": 48,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 1,
    "depth_single_blocks": 1,
    "axes_dim": [8, 8, 8],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
}
if "txt_ids_dims" in FluxParams.__dataclass_fields__:  # newer versions of ComfyUI demand it
    FLUX["txt_ids_dims"] = []
CLIP = Clip()


def text(words: str, **more) -> list:
    return [[tokens, extra | more] for tokens, extra in CLIP.encode_from_tokens_scheduled(CLIP.tokenize(words))]


def everywhere(frames) -> torch.Tensor:
    """One score per frame, [F, 1, 1, 1]."""
    return torch.tensor(frames).view(-1, 1, 1, 1)


WAN_CASE = Case(
    small(comfy.supported_models.WAN21_T2V, WAN),
    text("a street in the rain"),
    text("blurred"),
    torch.randn(1, 16, 3, 8, 8),
    factor=8,
    start=0.9,
)
EVERY = {"attention_mask": torch.ones(1, 77, dtype=torch.long)}
LTXV_CASE = Case(
    small(comfy.supported_models.LTXV, LTXV),
    text("a street in the rain", **EVERY),
    text("blurred", **EVERY),
    torch.randn(2, 128, 2, 4, 6),
    factor=32,
    start=0.9,
)
POSITIVE = text("a street in the rain", guidance=3.5)
FLUX_CASE = Case(small(comfy.supported_models.Flux, FLUX), POSITIVE, [], torch.randn(1, 16, 8, 8), start=0.9)
VIDEOS = pytest.mark.parametrize("case", [WAN_CASE, LTXV_CASE], ids=["Wan", "LTX-Video"])


def noise_mask(case: Case, quality, **more) -> torch.Tensor:
    """What Quality Denoise Mask makes of the case's latent and a map."""
    given = {"samples": case.latent} | more
    return AdaQualDenoiseMask.execute(given, quality, 0.0, 1.0, 1.0).args[0]["noise_mask"]


@VIDEOS
def test_guidance_of_videos_is_as_by_hand(case):
    guided_as_by_hand("video", case)


@VIDEOS
def test_the_good_side_of_a_video_is_kept(case):
    kept, original = case.sides(case.steered(case.halves(), 3, preservation=1.0)), case.sides(case.latent)
    print("kept", [differ(a, b) for a, b in zip(kept, original, strict=True)])
    assert differ(kept[0], original[0]) <= 1e-5 and differ(kept[1], original[1]) > 1e-2


@VIDEOS
def test_a_noise_mask_keeps_the_good_side_of_a_video(case):
    mask, original = noise_mask(case, case.halves()), case.sides(case.latent)
    assert mask.shape == (1, 1, 1, *case.latent.shape[-2:])
    masked = case.sides(case.sample(case.guider(case.halves()), 2, denoise_mask=mask))
    assert differ(masked[0], original[0]) <= 1e-5 and differ(masked[1], original[1]) > 1e-2


FRAMES = WAN_CASE.map(everywhere([5.0] + 4 * [1.0] + 4 * [3.0]))
"""A map per frame: the first latent frame holds one frame, each other one four."""


def test_a_map_per_frame_guides_each_frame():
    found = WAN_CASE.steered(FRAMES)
    for index, cfg in enumerate((2.0, 7.0, 4.5)):
        assert differ(found[:, :, index], WAN_CASE.plain(cfg)[:, :, index]) <= 1e-5


def test_a_map_per_frame_masks_each_frame():
    mask = noise_mask(WAN_CASE, FRAMES)
    assert mask.flatten(2)[0, 0].unflatten(0, (3, -1)).mean(1).tolist() == [0.0, 1.0, 0.5]
    earlier = torch.ones(1, 1, 3, 1, 1)
    earlier[:, :, 1] = 0
    both = noise_mask(WAN_CASE, FRAMES, noise_mask=earlier)
    assert both.flatten(2)[0, 0].unflatten(0, (3, -1)).mean(1).tolist() == [0.0, 0.0, 0.5]


def test_maps_that_fit_no_frames_are_refused():
    refused("2 maps for 1 videos of 3 latent frames", lambda: WAN_CASE.steered(WAN_CASE.flat(3.0, 2)))
    refused("3 maps for 2 videos of 2 latent frames", lambda: LTXV_CASE.steered(LTXV_CASE.flat(3.0, 3)))


def test_a_map_per_video_guides_each_video():
    found = LTXV_CASE.steered(LTXV_CASE.map(everywhere([5.0, 1.0])))
    for index, cfg in enumerate((2.0, 7.0)):
        assert differ(found[index], LTXV_CASE.plain(cfg)[index]) <= 1e-5


def said(case: Case, quality, **more) -> list:
    """The conditioning of two bands for a map."""
    texts = ("", "", "unchanged", "rebuilt")
    return AdaQualAdaptiveConditioning.execute(CLIP, quality, 2, 0.0, *texts, 1.0, 1.0, **more).args[0]


def of_each_text() -> list[torch.Tensor]:
    """What Wan predicts for the text of good regions alone, and for that of bad ones."""
    return [replace(WAN_CASE, positive=text(words), negative=[]).plain(1.0) for words in ("unchanged", "rebuilt")]


@pytest.mark.parametrize("more", [{}, {"samples": {"samples": WAN_CASE.latent}}], ids=["without latent", "with latent"])
def test_masked_texts_reach_a_video(more):
    """Where one text stands alone the model predicts what it predicts for that text."""
    parts = of_each_text()
    found = replace(WAN_CASE, positive=said(WAN_CASE, WAN_CASE.halves(), **more), negative=[]).plain(1.0)
    assert differ(parts[0], parts[1]) > 1e-2
    errors = [differ(WAN_CASE.sides(found)[i][..., 1:-1], WAN_CASE.sides(parts[i])[i][..., 1:-1]) for i in (0, 1)]
    print("Wan, texts", errors)
    assert max(errors) <= 1e-5


def test_each_frame_gets_the_text_of_its_band():
    parts, samples = of_each_text(), {"samples": WAN_CASE.latent}
    per_frame = WAN_CASE.map(everywhere([5.0] + 4 * [1.0] + 4 * [5.0]))
    found = replace(WAN_CASE, positive=said(WAN_CASE, per_frame, samples=samples), negative=[]).plain(1.0)
    for index, part in ((0, 0), (1, 1), (2, 0)):
        assert differ(found[:, :, index], parts[part][:, :, index]) <= 1e-5


def test_distilled_guidance_reaches_the_model():
    """Without a negative text the model still gets its guidance, and the map preserves."""
    other = replace(FLUX_CASE, positive=text("a street in the rain", guidance=1.5))
    assert differ(FLUX_CASE.plain(1.0), other.plain(1.0)) > 1e-3, "distilled guidance has no effect on this model"
    for quality in (FLUX_CASE.flat(5.0), FLUX_CASE.flat(1.0), FLUX_CASE.halves()):
        assert differ(FLUX_CASE.steered(quality, 2), FLUX_CASE.plain(1.0, 2)) <= 1e-5
    good, bad = FLUX_CASE.sides(FLUX_CASE.steered(FLUX_CASE.halves(), 2, preservation=1.0))
    original = FLUX_CASE.sides(FLUX_CASE.latent)
    assert differ(good, original[0]) <= 1e-5 and differ(bad, original[1]) > 1e-2


def test_guidance_of_flux_with_a_negative_text_is_as_by_hand():
    guided_as_by_hand("Flux with a negative text", replace(FLUX_CASE, negative=text("blurred", guidance=3.5)))
