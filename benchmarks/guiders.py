"""This script, which steering.py runs inside ComfyUI's Python, times the steps of the Quality Guider and of ComfyUI's CFGGuider
in turns.

Both sample the same latent with the same conditioning; the Quality Guider has an uneven map and preservation on. Two times are
taken: the processor's, which other work on the machine changes least, and the clock's. The time inside the network is subtracted
from each step. Both guiders ask the network for the same, so only the rest can differ.
"""

import importlib.util
import json
import statistics
import sys
import time

REPOSITORY, CHECKPOINT, SIDE, PAIRS = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
STEPS = 4  # the first of each run is not counted: it comes with preparation
sys.argv = ["guiders", "--cpu"]
import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
import comfy.samplers  # noqa: E402
import comfy.sd  # noqa: E402
import torch  # noqa: E402

spec = importlib.util.spec_from_file_location("pack", f"{REPOSITORY}/__init__.py", submodule_search_locations=[REPOSITORY])
sys.modules["pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["pack"])
from pack.adaqual_core.quality.map import QualityMap  # noqa: E402
from pack.nodes.guider import QualityGuider  # noqa: E402


def clocks() -> torch.Tensor:
    """Return the seconds of the processor and of the clock."""
    return torch.tensor([time.process_time(), time.perf_counter()], dtype=torch.float64)


torch.manual_seed(0)
model = comfy.sd.load_checkpoint_guess_config(CHECKPOINT, output_vae=False, output_clip=False)[0]
texts = {"positive": [[torch.randn(1, 77, 768), {}]], "negative": [[torch.randn(1, 77, 768), {}]]}
cells = SIDE // 8
latent = torch.randn(1, 4, cells, cells)
quality = QualityMap(1 + 4 * torch.rand(1, 1, cells, cells), SIDE, SIDE, "random")
inside, asked = torch.zeros(2, dtype=torch.float64), []


def timed(apply_model, given):
    """Return the function that ComfyUI calls instead of the network."""
    start = clocks()
    result = apply_model(given["input"], given["timestep"], **given["c"])
    inside.add_(clocks() - start)
    asked.append(len(given["input"]))
    return result


model.set_model_unet_function_wrapper(timed)
ours = QualityGuider(model, quality, 2.0, 7.0, 1.0, 0.5, 4.5)
theirs = comfy.samplers.CFGGuider(model)
theirs.set_cfg(7.0)
GUIDERS = {"CFGGuider": theirs, "Quality Guider": ours}
for guider in GUIDERS.values():
    guider.inner_set_conds(texts)


def steps(guider) -> list[torch.Tensor]:
    """Return, for each counted step, the whole time and the time outside the network, in seconds of the processor and of the
    clock: [2, 2]."""
    marks = []
    asked.clear()
    with torch.inference_mode():
        guider.sample(
            torch.ones_like(latent),
            latent,
            comfy.samplers.sampler_object("euler"),
            torch.linspace(5, 0, STEPS + 1),
            disable_pbar=True,
            callback=lambda *_: marks.append((clocks(), inside.clone())),
            seed=0,
        )
    if asked != [2] * STEPS:
        raise RuntimeError(f"the network was asked for {asked} pictures, not for both texts once per step")
    pairs = zip(marks[:-1], marks[1:], strict=True)
    return [torch.stack((end - start, end - start - (after - before))) for (start, before), (end, after) in pairs]


for guider in GUIDERS.values():
    steps(guider)
found = {name: [] for name in GUIDERS}
for pair in range(PAIRS):
    for name in GUIDERS if pair % 2 else reversed(GUIDERS):
        found[name].append(torch.stack(steps(GUIDERS[name])))
    print(f"pair {pair + 1} of {PAIRS}", file=sys.stderr)
whole, outside = ({name: torch.cat(runs)[:, part] for name, runs in found.items()} for part in (0, 1))
runs = {name: torch.stack(runs)[:, :, 0, 0].sum(1) for name, runs in found.items()}
of_pairs = [float(a / b) - 1 for a, b in zip(runs["Quality Guider"], runs["CFGGuider"], strict=True)]
least = {name: times.amin(0) for name, times in whole.items()}
rest = {name: times.median(0).values for name, times in outside.items()}
print(
    json.dumps(
        {
            "parameters": sum(parameter.numel() for parameter in model.model.diffusion_model.parameters()),
            "pairs": PAIRS,
            "steps": PAIRS * (STEPS - 1),
            "threads": torch.get_num_threads(),
            "processor seconds per step, least": {name: round(float(times[0]), 4) for name, times in least.items()},
            "clock seconds per step, least": {name: round(float(times[1]), 4) for name, times in least.items()},
            "processor seconds per step outside the network, median": {name: round(float(t[0]), 5) for name, t in rest.items()},
            "overhead, processor, of the least": round(float(least["Quality Guider"][0] / least["CFGGuider"][0]) - 1, 4),
            "overhead, processor, median of pairs": round(statistics.median(of_pairs), 4),
            "overhead, clock, of the least": round(float(least["Quality Guider"][1] / least["CFGGuider"][1]) - 1, 4),
            "overhead outside the network, processor, of a whole step": round(
                float((rest["Quality Guider"][0] - rest["CFGGuider"][0]) / least["CFGGuider"][0]), 5
            ),
        }
    )
)
