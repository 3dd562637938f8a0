"""Run by test_steering.py inside ComfyUI's Python: steering checked on ComfyUI's own model, patcher and samplers."""

import importlib.util
import sys
import time

REPOSITORY = sys.argv[1]
sys.argv = ["steered", "--cpu"]
import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
import comfy.model_management  # noqa: E402
import comfy.samplers  # noqa: E402
import comfy.sd  # noqa: E402
import comfy.supported_models  # noqa: E402
import torch  # noqa: E402
from comfy.model_patcher import ModelPatcher  # noqa: E402

spec = importlib.util.spec_from_file_location("pack", f"{REPOSITORY}/__init__.py", submodule_search_locations=[REPOSITORY])
sys.modules["pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["pack"])
from pack.adaqual_core.bands import DIRECTIVES, PRESERVE  # noqa: E402
from pack.adaqual_core.quality import QualityMap  # noqa: E402
from pack.nodes.guider import QualityGuider  # noqa: E402
from pack.nodes.steering import AdaQualAdaptiveConditioning, AdaQualDenoiseMask, AdaQualGuider  # noqa: E402

UNET = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 32, "num_res_blocks": [1, 1],
    "transformer_depth": [1, 1], "transformer_depth_output": [1, 1, 1, 1], "transformer_depth_middle": 1,
    "channel_mult": [1, 2], "use_linear_in_transformer": False, "context_dim": 768, "num_heads": 4,
    "use_spatial_transformer": True, "legacy": False, "adm_in_channels": None, "use_temporal_attention": False,
}  # fmt: skip


def small_sd15() -> ModelPatcher:
    """Stable Diffusion 1.5's network at a reduced size with random weights."""
    torch.manual_seed(0)
    config = comfy.supported_models.SD15(dict(UNET))
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({}, "", device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.08)
    return ModelPatcher(model.eval(), load_device=torch.device("cpu"), offload_device=torch.device("cpu"))


def two_halves() -> QualityMap:
    scores = torch.full((1, 1, 8, 8), 5.0)
    scores[..., 4:] = 1.0
    return QualityMap(scores, 64, 64, "test")


def flat(score: float, batch: int = 1) -> QualityMap:
    return QualityMap(torch.full((batch, 1, 1, 1), score), 64, 64, "test")


MODEL = small_sd15()
POSITIVE, NEGATIVE = [[torch.randn(1, 77, 768), {}]], [[torch.randn(1, 77, 768), {}]]
NOISE, LATENT = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)


def sample(guider, steps: int = 1, latent=LATENT, **kwargs):
    sigmas = torch.linspace(2, 0, steps + 1)
    with torch.inference_mode():
        return guider.sample(NOISE[: len(latent)], latent, comfy.samplers.sampler_object("euler"), sigmas,
                             disable_pbar=True, seed=0, **kwargs)  # fmt: skip


def plain(cfg: float, steps: int = 1, model=MODEL):
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(POSITIVE, NEGATIVE)
    guider.set_cfg(cfg)
    return sample(guider, steps)


def quality(map_, low=2.0, high=7.0, preservation=0.0, negative=NEGATIVE, model=MODEL):
    return AdaQualGuider.execute(model, map_, POSITIVE, low, high, 1.0, preservation, 4.5, negative).args[0]


def differ(a, b) -> float:
    return float((a - b).abs().max())


def refused(match: str, work) -> None:
    try:
        work()
    except ValueError as problem:
        assert match in str(problem), problem
    else:
        raise AssertionError(f"not refused: {match}")


low, high = plain(2.0), plain(7.0)
assert differ(low, high) > 1e-2, "guidance has no effect on this model"
for score, cfg in ((5.0, 2.0), (1.0, 7.0), (3.0, 4.5)):
    error = differ(sample(quality(flat(score)), 2), plain(cfg, 2))
    print("flat map", score, error)
    assert error <= 1e-5
nearly = QualityMap(torch.full((1, 1, 8, 8), 3.0).index_fill(3, torch.tensor([0]), 3.0 - 1e-6), 64, 64, "test")
assert differ(sample(quality(nearly)), plain(4.5)) <= 1e-5  # through the path of uneven maps
halves = sample(quality(two_halves()))
errors = differ(halves[..., :4], low[..., :4]), differ(halves[..., 4:], high[..., 4:])
print("two-valued map", errors)
assert max(errors) <= 1e-5

kept = sample(quality(two_halves(), preservation=1.0), 3)
assert differ(kept[..., :4], LATENT[..., :4]) <= 1e-5
assert differ(kept[..., 4:], LATENT[..., 4:]) > 1e-2
alone = comfy.samplers.CFGGuider(MODEL)
alone.inner_set_conds({"positive": POSITIVE})
assert differ(sample(quality(two_halves(), negative=None)), sample(alone)) <= 1e-5

scales = []
patched = MODEL.clone()


def theirs(given):
    scales.append(given["cond_scale"])
    return given["uncond"] + (given["cond"] - given["uncond"]) * given["cond_scale"]


patched.set_model_sampler_cfg_function(theirs)
assert differ(sample(quality(two_halves(), model=patched)), halves) <= 1e-5
assert scales[0].shape == (1, 1, 8, 8)

refused("3 maps for 2 latents", lambda: sample(quality(flat(3.0, 3))))
other = QualityMap(torch.full((1, 1, 4, 8), 3.0), 64, 128, "test")
refused("does not fit", lambda: sample(quality(other)))
refused("VAE Encode", lambda: sample(quality(flat(5.0), preservation=0.5), latent=torch.zeros(2, 4, 8, 8)))

masked = AdaQualDenoiseMask.execute({"samples": LATENT, "batch_index": [3, 4]}, two_halves(), 0.0, 1.0, 1.0).args[0]
assert masked["noise_mask"].shape == (1, 1, 8, 8) and masked["batch_index"] == [3, 4]
painted = sample(quality(two_halves()), denoise_mask=masked["noise_mask"])
assert differ(painted[..., :4], LATENT[..., :4]) <= 1e-5 and differ(painted[..., 4:], LATENT[..., 4:]) > 1e-2
video = AdaQualDenoiseMask.execute({"samples": torch.zeros(1, 16, 3, 8, 8)}, flat(1.0, 9), 0.0, 1.0, 1.0).args[0]
assert video["noise_mask"].shape == (1, 1, 3, 8, 8) and bool((video["noise_mask"] == 1).all())


class Clip(comfy.sd.CLIP):
    """ComfyUI's own tokenizer and text encoder of SD 1.5, with random weights; remembers what it was asked to encode."""

    def __init__(self):
        super().__init__(comfy.supported_models.SD15(dict(UNET)).clip_target(), model_options={"dtype": torch.float32})
        self.texts = []
        with torch.no_grad():
            for parameter in self.cond_stage_model.parameters():
                parameter.copy_(torch.randn(parameter.shape) * 0.03)

    def tokenize(self, text):
        self.texts.append(text)
        return super().tokenize(text)


def words(clip, text) -> int:
    return sum(token not in (49406, 49407) for chunk in clip.tokenizer.tokenize_with_weights(text)["l"] for token, _ in chunk)


CLIP = Clip()
ramp = QualityMap(torch.linspace(5, 1, 64).reshape(1, 1, 1, 64).repeat(1, 1, 64, 1), 64, 64, "test")
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
conditioning, masks, _ = AdaQualAdaptiveConditioning.execute(CLIP, two_halves(), 2, 0.0, *texts, 0.5, 2.0).args
seen = {}
spy = MODEL.clone()


def wrapper(apply_model, given):
    for context in given["c"]["c_crossattn"]:
        seen[float(context.sum())] = context
    return apply_model(given["input"], given["timestep"], **given["c"])


spy.set_model_unet_function_wrapper(wrapper)
guider = comfy.samplers.CFGGuider(spy)
guider.inner_set_conds({"positive": conditioning})
steered = sample(guider)
assert len(seen) == 3
apart = []
for embedding, _ in conditioning:
    guider = comfy.samplers.CFGGuider(MODEL)
    guider.inner_set_conds({"positive": [[embedding, {}]]})
    apart.append(sample(guider))
    assert any(c.shape[-2] >= embedding.shape[1] and torch.equal(c[: embedding.shape[1]], embedding[0]) for c in seen.values())
reduced = torch.nn.functional.interpolate(masks[:, None], (8, 8), mode="bilinear")[:, 0]
weight = [torch.ones(8, 8), 0.5 * reduced[0], 2.0 * reduced[1]]
wanted = sum(a * w for a, w in zip(apart, weight, strict=True)) / sum(weight)
print("conditioning", differ(steered, wanted))
assert differ(steered, wanted) <= 1e-4
for score in (5.0, 1.0):  # all good, all bad: the whole picture's text and that of one band
    assert len(AdaQualAdaptiveConditioning.execute(CLIP, flat(score), 4, 0.5, *texts, 1.0, 1.0).args[0]) == 2
refused("global_text", lambda: AdaQualAdaptiveConditioning.execute(CLIP, ramp, 4, 0.5, "", *texts[1:], 0.0, 1.0))
refused("Load CLIP", lambda: AdaQualAdaptiveConditioning.execute(None, ramp, 4, 0.5, *texts, 1.0, 1.0))
assert isinstance(quality(ramp), QualityGuider)
print("done", time.process_time())
