"""Run by test_steering.py inside ComfyUI's Python: steering on small Wan 2.1 and LTX-Video (5-D latents) and Flux networks."""

from dataclasses import replace

import torch
from inside import Case, Clip, comfy, differ, guided_as_by_hand, refused, small
from pack.nodes.steering import AdaQualAdaptiveConditioning, AdaQualDenoiseMask

WAN = {
    "image_model": "wan2.1", "model_type": "t2v", "dim": 48, "ffn_dim": 48, "num_heads": 2, "num_layers": 1, "text_dim": 768,
    "freq_dim": 32,
}  # fmt: skip
LTXV = {
    "image_model": "ltxv", "in_channels": 128, "cross_attention_dim": 48, "attention_head_dim": 24, "num_attention_heads": 2,
    "caption_channels": 768, "num_layers": 1,
}  # fmt: skip
FLUX = {
    "image_model": "flux", "guidance_embed": True, "in_channels": 16, "out_channels": 16, "vec_in_dim": 768,
    "context_in_dim": 768, "hidden_size": 48, "mlp_ratio": 2.0, "num_heads": 2, "depth": 1, "depth_single_blocks": 1,
    "axes_dim": [8, 8, 8], "theta": 10000, "patch_size": 2, "qkv_bias": True,
}  # fmt: skip
CLIP = Clip()


def text(words: str, **more) -> list:
    return [[tokens, extra | more] for tokens, extra in CLIP.encode_from_tokens_scheduled(CLIP.tokenize(words))]


def everywhere(frames) -> torch.Tensor:
    """One score per frame, [F, 1, 1, 1]."""
    return torch.tensor(frames).view(-1, 1, 1, 1)


wan = Case(small(comfy.supported_models.WAN21_T2V, WAN), text("a street in the rain"), text("blurred"),
           torch.randn(1, 16, 3, 8, 8), factor=8, start=0.9)  # fmt: skip
every = {"attention_mask": torch.ones(1, 77, dtype=torch.long)}
ltxv = Case(small(comfy.supported_models.LTXV, LTXV), text("a street in the rain", **every), text("blurred", **every),
            torch.randn(2, 128, 2, 4, 6), factor=32, start=0.9)  # fmt: skip
for name, case in (("Wan", wan), ("LTX-Video", ltxv)):
    guided_as_by_hand(name, case)
    kept = case.sides(case.steered(case.halves(), 3, preservation=1.0))
    original = case.sides(case.latent)
    print(name, "kept", [differ(a, b) for a, b in zip(kept, original, strict=True)])
    assert differ(kept[0], original[0]) <= 1e-5 and differ(kept[1], original[1]) > 1e-2
    mask = AdaQualDenoiseMask.execute({"samples": case.latent}, case.halves(), 0.0, 1.0, 1.0).args[0]["noise_mask"]
    assert mask.shape == (1, 1, 1, *case.latent.shape[-2:])
    masked = case.sides(case.sample(case.guider(case.halves()), 2, denoise_mask=mask))
    assert differ(masked[0], original[0]) <= 1e-5 and differ(masked[1], original[1]) > 1e-2

# a map per frame: the first latent frame holds one frame, each other one four
frames = wan.map(everywhere([5.0] + 4 * [1.0] + 4 * [3.0]))
found = wan.steered(frames)
for index, cfg in enumerate((2.0, 7.0, 4.5)):
    assert differ(found[:, :, index], wan.plain(cfg)[:, :, index]) <= 1e-5
mask = AdaQualDenoiseMask.execute({"samples": wan.latent}, frames, 0.0, 1.0, 1.0).args[0]["noise_mask"]
assert mask.flatten(2)[0, 0].unflatten(0, (3, -1)).mean(1).tolist() == [0.0, 1.0, 0.5]
earlier = torch.ones(1, 1, 3, 1, 1)
earlier[:, :, 1] = 0
both = AdaQualDenoiseMask.execute({"samples": wan.latent, "noise_mask": earlier}, frames, 0.0, 1.0, 1.0).args[0]
assert both["noise_mask"].flatten(2)[0, 0].unflatten(0, (3, -1)).mean(1).tolist() == [0.0, 0.0, 0.5]
refused("2 maps for 1 videos of 3 latent frames", lambda: wan.steered(wan.flat(3.0, 2)))
refused("3 maps for 2 videos of 2 latent frames", lambda: ltxv.steered(ltxv.flat(3.0, 3)))
each = ltxv.map(everywhere([5.0, 1.0]))  # one map per video
found = ltxv.steered(each)
for index, cfg in enumerate((2.0, 7.0)):
    assert differ(found[index], ltxv.plain(cfg)[index]) <= 1e-5


def said(case: Case, quality, **more) -> list:
    return AdaQualAdaptiveConditioning.execute(
        CLIP, quality, 2, 0.0, "", "", "unchanged", "rebuilt", 1.0, 1.0, **more
    ).args[0]  # fmt: skip


# masked texts reach a video: where one text stands alone the model predicts what it predicts for that text
parts = [replace(wan, positive=text(words), negative=[]).plain(1.0) for words in ("unchanged", "rebuilt")]
samples = {"samples": wan.latent}
for more in ({}, {"samples": samples}):
    found = replace(wan, positive=said(wan, wan.halves(), **more), negative=[]).plain(1.0)
    assert differ(parts[0], parts[1]) > 1e-2
    errors = [differ(wan.sides(found)[i][..., 1:-1], wan.sides(parts[i])[i][..., 1:-1]) for i in (0, 1)]
    print("Wan, texts", errors)
    assert max(errors) <= 1e-5
per_frame = wan.map(everywhere([5.0] + 4 * [1.0] + 4 * [5.0]))
found = replace(wan, positive=said(wan, per_frame, samples=samples), negative=[]).plain(1.0)
for index, part in ((0, 0), (1, 1), (2, 0)):
    assert differ(found[:, :, index], parts[part][:, :, index]) <= 1e-5

# distilled guidance, no negative text: the model still gets its guidance, the map preserves and masks
positive = text("a street in the rain", guidance=3.5)
flux = Case(small(comfy.supported_models.Flux, FLUX), positive, [], torch.randn(1, 16, 8, 8), start=0.9)
other = replace(flux, positive=text("a street in the rain", guidance=1.5))
assert differ(flux.plain(1.0), other.plain(1.0)) > 1e-3, "distilled guidance has no effect on this model"
for quality in (flux.flat(5.0), flux.flat(1.0), flux.halves()):
    assert differ(flux.steered(quality, 2), flux.plain(1.0, 2)) <= 1e-5
good, bad = flux.sides(flux.steered(flux.halves(), 2, preservation=1.0))
assert differ(good, flux.sides(flux.latent)[0]) <= 1e-5 and differ(bad, flux.sides(flux.latent)[1]) > 1e-2
guided_as_by_hand("Flux with a negative text", replace(flux, negative=text("blurred", guidance=3.5)))
