"""Run by steering.py inside ComfyUI's Python: seconds per step of the Quality Guider and of ComfyUI's CFGGuider, in turns.

Both sample the same latent with the same conditioning; the Quality Guider has an uneven map and preservation on.
"""

import importlib.util
import json
import statistics
import sys
import time

REPOSITORY, CHECKPOINT, SIDE, PAIRS = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
sys.argv = ["guiders", "--cpu"]
import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
import comfy.samplers  # noqa: E402
import comfy.sd  # noqa: E402
import torch  # noqa: E402

spec = importlib.util.spec_from_file_location("pack", f"{REPOSITORY}/__init__.py", submodule_search_locations=[REPOSITORY])
sys.modules["pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["pack"])
from pack.adaqual_core.quality import QualityMap  # noqa: E402
from pack.nodes.guider import QualityGuider  # noqa: E402

torch.manual_seed(0)
model = comfy.sd.load_checkpoint_guess_config(CHECKPOINT, output_vae=False, output_clip=False)[0]
texts = {"positive": [[torch.randn(1, 77, 768), {}]], "negative": [[torch.randn(1, 77, 768), {}]]}
cells = SIDE // 8
latent = torch.randn(1, 4, cells, cells)
quality = QualityMap(1 + 4 * torch.rand(1, 1, cells, cells), SIDE, SIDE, "random")
ours = QualityGuider(model, quality, 2.0, 7.0, 1.0, 0.5, 4.5)
theirs = comfy.samplers.CFGGuider(model)
theirs.set_cfg(7.0)
for guider in (ours, theirs):
    guider.inner_set_conds(texts)


def seconds(guider, steps: int = 2) -> float:
    """Of one step: from the end of the first to the end of the second, without preparation and loading."""
    ends = []
    sigmas = torch.linspace(5, 0, steps + 1)
    with torch.inference_mode():
        guider.sample(torch.ones_like(latent), latent, comfy.samplers.sampler_object("euler"), sigmas, disable_pbar=True,
                      callback=lambda *_: ends.append(time.perf_counter()), seed=0)  # fmt: skip
    return ends[-1] - ends[0]


seconds(theirs), seconds(ours)
times = {"CFGGuider": [], "Quality Guider": []}
for pair in range(PAIRS):
    turns = [("CFGGuider", theirs), ("Quality Guider", ours)]
    for name, guider in turns if pair % 2 else reversed(turns):
        times[name].append(seconds(guider))
medians = {name: statistics.median(found) for name, found in times.items()}
ratios = [ours / theirs for ours, theirs in zip(times["Quality Guider"], times["CFGGuider"], strict=True)]
print(json.dumps({
    "parameters": sum(parameter.numel() for parameter in model.model.diffusion_model.parameters()),
    "pairs": PAIRS, "threads": torch.get_num_threads(),
    "median seconds per step": {name: round(value, 4) for name, value in medians.items()},
    "overhead, median of pairs": round(statistics.median(ratios) - 1, 4),
    "overhead, of medians": round(medians["Quality Guider"] / medians["CFGGuider"] - 1, 4),
}))  # fmt: skip
