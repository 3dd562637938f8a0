"""This benchmark runs our samplers beside the authors' code on the same random weights, noise and picture.

``python -m benchmarks.reference_models [--adaqual DIR] [--weatherdiffusion DIR]`` with checkouts of sxvvv/AdaQual-Diff
(needs diffusers and einops; 512², 2 steps) and IGITUGraz/WeatherDiffusion (192², r = 16, 5 steps). Prints one JSON object
per network: seconds of both, called in turn, the processor's seconds of all threads, the ratios theirs/ours of every pair,
the largest difference of the restored pictures, and each one's peak of memory beside weights and inputs, from processes of
their own (on CUDA from the allocator).
On a CPU that other work shares only the processor's seconds tell anything.
"""

import argparse
import json
import multiprocessing
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn as nn
from torch import Tensor

from adaqual_core.networks.adaqual_diff import OfficialConfig, OfficialNet
from adaqual_core.networks.weather_diffusion import WeatherConfig, WeatherNet
from adaqual_core.prompt import build_prompt
from adaqual_core.quality.map import quality_from_severity
from adaqual_core.sampling.restore import restore
from adaqual_core.sampling.settings import draw_noise, settings_for

SIDES = ("theirs", "ours")
Run = Callable[[Tensor], Tensor]


def randomise(network: nn.Module) -> None:
    """Give random values to the gates. They start at zero, which would make most of the network the identity."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith((".beta", ".gamma")):
                parameter.copy_(0.3 * torch.randn(parameter.shape))


def ours(network: nn.Module, steps: int, picture: Tensor) -> Tensor:
    """Restore a picture as if everything in it were damaged, so that nothing is skipped."""
    prompt = build_prompt(picture, quality_from_severity(torch.ones(1, *picture.shape[-2:])))
    return restore(network, picture, prompt, settings_for(network, steps=steps)).picture


def official(folder: Path, device: torch.device) -> tuple[Run, Run, list[nn.Module]]:
    """Return the authors' SR3Sampler with the 61 M network, and ours, both with 2 steps, and the two networks."""
    sys.path.insert(0, str(folder))
    from diffusion_pl.pipeline import SR3Sampler, SR3scheduler
    from models_prompt.modules.DenoisingNAFNet_arch import NAFNet

    torch.manual_seed(0)
    reference = NAFNet()
    reference.prompt_pool.input_projections["proj_1024"] = nn.Linear(1024, 256)  # theirs appears at the first call
    randomise(reference)
    network = OfficialNet(OfficialConfig(projections=(1024,)))
    network.load_state_dict(reference.state_dict())
    for net in (reference, network):
        net.to(device).requires_grad_(False).eval()

    @torch.no_grad()
    def theirs(picture: Tensor) -> Tensor:
        scheduler = SR3scheduler()
        scheduler.set_timesteps(2)
        noise = draw_noise(picture.shape[-2:], 1.0, 0)[None].to(device)
        plain, torch.randn_like = torch.randn_like, lambda *_, **__: noise.clone()
        try:
            residual = SR3Sampler(reference, scheduler).sample_high_res(picture.to(device))["sample"]
        finally:
            torch.randn_like = plain
        return (picture + residual.cpu()).clamp(0, 1)

    return theirs, partial(ours, network, 2), [reference, network]


def weatherdiffusion(folder: Path, device: torch.device) -> tuple[Run, Run, list[nn.Module]]:
    """Return the authors' generalized_steps_overlapping with WeatherDiff64's network, r = 16, and ours, both with 5 steps, and
    the two networks.
    """
    sys.path.insert(0, str(folder))
    from models.unet import DiffusionUNet
    from utils.sampling import generalized_steps_overlapping

    torch.manual_seed(0)
    model = SimpleNamespace(
        ch=128,
        out_ch=3,
        ch_mult=[1, 2, 3, 4],
        num_res_blocks=2,
        attn_resolutions=[16],
        dropout=0.0,
        in_channels=3,
        resamp_with_conv=True,
    )
    reference = DiffusionUNet(SimpleNamespace(model=model, data=SimpleNamespace(image_size=64, conditional=True)))
    network = WeatherNet(WeatherConfig())
    network.load_state_dict(reference.state_dict())
    for net in (reference, network):
        net.to(device).requires_grad_(False).eval()
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64).float().to(device)

    def theirs(picture: Tensor) -> Tensor:
        height, width = picture.shape[-2:]
        corners = [(y, x) for y in range(0, height - 63, 16) for x in range(0, width - 63, 16)]
        noise = draw_noise((height, width), 1.0, 0)[None].to(device)
        plain = torch.Tensor.to
        if device.type == "cpu":  # their sampler names the device "cuda"
            torch.Tensor.to = lambda x, *args, **named: plain(x, *("cpu" if a == "cuda" else a for a in args), **named)
        try:
            states, _ = generalized_steps_overlapping(
                noise, picture.to(device), range(0, 1000, 200), reference, betas, corners=corners, p_size=64
            )
        finally:
            torch.Tensor.to = plain
        return ((states[-1].cpu() + 1) / 2).clamp(0, 1)

    return theirs, partial(ours, network, 5), [reference, network]


KINDS = {"adaqual": (official, 512, 64), "weatherdiffusion": (weatherdiffusion, 192, 64)}


def photo(side: int) -> Tensor:
    """Return a random picture [1, 3, side, side] in [0, 1], the same at every call."""
    return torch.rand((1, 3, side, side), generator=torch.Generator().manual_seed(2))


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def peak_memory(kind: str, folder: Path, device: str, side: str) -> float:
    """Return the MiB above weights and inputs while one of the two restores."""
    build, size, small = KINDS[kind]
    theirs, own, networks = build(folder, torch.device(device))
    run = theirs if side == "theirs" else own
    networks.pop(SIDES.index("ours" if side == "theirs" else "theirs")).to("meta")
    run(photo(small))
    picture = photo(size)
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(picture)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    highest = before = resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.002):
            highest = max(highest, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    run(picture)
    done.set()
    watcher.join()
    return (highest - before) / 2**20


def compare(kind: str, folder: Path, device: str, pairs: int) -> dict:
    """Return times and difference of both, run in turn on one picture. A first call of each on a small picture is not counted."""
    build, size, small = KINDS[kind]
    theirs, own, _ = build(folder, torch.device(device))
    for run in (theirs, own):
        run(photo(small))
    picture, results = photo(size), {}
    seconds, processor = {side: [] for side in SIDES}, {side: [] for side in SIDES}
    for _ in range(pairs):
        for side, run in zip(SIDES, (theirs, own), strict=True):
            start, work = time.perf_counter(), time.process_time()
            results[side] = run(picture)
            seconds[side].append(time.perf_counter() - start)
            processor[side].append(time.process_time() - work)

    def ratios(each: dict[str, list[float]]) -> list[float]:
        return [round(a / b, 2) for a, b in zip(*each.values(), strict=True)]

    difference, change = (results["theirs"] - results["ours"]).abs().max(), (results["theirs"] - picture).abs().max()
    return {
        "network": kind,
        "size": size,
        "device": device,
        "threads": torch.get_num_threads(),
        "seconds": {side: [round(s, 2) for s in each] for side, each in seconds.items()},
        "theirs/ours, seconds": ratios(seconds),
        "processor seconds": {side: [round(s, 2) for s in each] for side, each in processor.items()},
        "theirs/ours, processor seconds": ratios(processor),
        "largest difference": float(difference),
        "largest change of the picture": float(change),
    }


def main() -> None:
    """Compare with each checkout that is given, and print one JSON object for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=Path, metavar="DIR", help="folder with the authors' code")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pairs", type=int, default=2, help="timed calls of each (2)")
    parser.add_argument("--only-time", action="store_true", help="leave the peaks of memory out, which take as long as a pair")
    args = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    given = [(kind, getattr(args, kind)) for kind in KINDS if getattr(args, kind) is not None]
    if not given:
        parser.error(f"give {' or '.join(f'--{kind}' for kind in KINDS)}")
    for kind, folder in given:
        with spawn.Pool(1, maxtasksperchild=1) as pool:
            report = pool.apply(compare, (kind, folder, args.device, args.pairs))
            sides = () if args.only_time else SIDES
            peaks = {side: pool.apply(peak_memory, (kind, folder, args.device, side)) for side in sides}
        if peaks:
            report["peak memory, MiB"] = {side: round(peak) for side, peak in peaks.items()}
            report["ours/theirs, memory"] = round(peaks["ours"] / peaks["theirs"], 2)
        print(json.dumps(report, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
