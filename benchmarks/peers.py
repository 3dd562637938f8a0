"""``python -m benchmarks.peers`` measures what a restoration costs, ours beside the networks that ComfyUI users load through
spandrel.

Seconds per megapixel and peak memory in one run on one machine. Ours is the whole pipeline with the product's own settings (map,
prompt, two steps; every tile is run) on weights from files. The others are their networks alone, with random weights of the
published sizes, which cost the same. Each is run in a process of its own, once to warm up and then ``--runs`` times; the median
counts. Times are of use on a machine that does nothing else. Results go to runs/benchmarks as JSON too. Needs
requirements-benchmarks.txt.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from adaqual_core.networks.shipped import SHIPPED_ASSESSOR, SHIPPED_RESTORER
from adaqual_core.prompt import build_prompt
from adaqual_core.published.read import load_restorer
from adaqual_core.quality.assess import assess, open_assessor
from adaqual_core.sampling.restore import restore
from adaqual_core.sampling.settings import settings_for

from .published import surroundings

ROOT = Path(__file__).resolve().parents[1]


def _nafnet() -> nn.Module:
    from spandrel.architectures.NAFNet import NAFNet

    return NAFNet(width=32, middle_blk_num=12, enc_blk_nums=[2, 2, 4, 8], dec_blk_nums=[2, 2, 2, 2])


def _drunet() -> nn.Module:
    from spandrel.architectures.DRUNet import DRUNet

    return DRUNet(in_nc=4, out_nc=3)


def _fbcnn() -> nn.Module:
    from spandrel.architectures.FBCNN import FBCNN

    return FBCNN()


def _scunet() -> nn.Module:
    from spandrel.architectures.SCUNet import SCUNet

    return SCUNet()


def _swinir() -> nn.Module:
    from spandrel.architectures.SwinIR import SwinIR

    return SwinIR(
        img_size=128,
        window_size=8,
        depths=[6] * 6,
        embed_dim=180,
        num_heads=[6] * 6,
        mlp_ratio=2,
        upscale=1,
        upsampler="",
        resi_connection="1conv",
    )


def _restormer() -> nn.Module:
    from spandrel_extra_arches.architectures.Restormer import Restormer

    return Restormer()


PEERS: dict[str, Callable[[], nn.Module]] = {
    "NAFNet-32": _nafnet,
    "DRUNet": _drunet,
    "FBCNN": _fbcnn,
    "SCUNet": _scunet,
    "SwinIR (denoising)": _swinir,
    "Restormer": _restormer,
}

LARGEST = {"SwinIR (denoising)": 256, "Restormer": 512}
"""Sides in px that these are measured at, at most; their time grows with the area all the same."""


def ours(model: Path, assessor: Path, device: str) -> tuple[Callable[[Tensor], object], int]:
    """Return the whole pipeline of a restorer's file as a function of a picture [1, 3, H, W], and its number of parameters."""
    net, judge = load_restorer(model).to(device), open_assessor(assessor, device)

    def run(picture: Tensor) -> object:
        prompt = build_prompt(picture, assess(judge, picture))
        everywhere = replace(prompt, restore_mask=torch.ones_like(prompt.restore_mask))
        return restore(net, picture, everywhere, settings_for(net))

    return run, sum(p.numel() for p in (*net.parameters(), *judge.parameters()))


def peer(name: str, device: str) -> tuple[Callable[[Tensor], object], int]:
    """Return a peer's network as a function of a picture [1, 3, H, W], and its number of parameters."""
    net = PEERS[name]().eval().to(device)

    def run(picture: Tensor) -> object:
        given = picture.to(device)
        if name == "DRUNet":  # it is given the level of the noise as a fourth channel
            given = torch.cat((given, torch.full_like(given[:, :1], 0.1)), 1)
        with torch.inference_mode():
            found = net(given)
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        return found

    return run, sum(p.numel() for p in net.parameters())


def peak_memory(device: str) -> float:
    """Return the most memory in GB (10⁹ bytes): what torch held on a graphics card, elsewhere what the whole process held, with
    Python, libraries and weights.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def measure(name: str, side: int, runs: int, model: Path, assessor: Path, device: str) -> dict:
    """Return the seconds per megapixel (median of the runs), peak memory in GB, and millions of parameters, of a peer or of ours.

    ``name``: one of PEERS; any other is taken for ours, with ``model`` and ``assessor``. ``side``: of the square picture, in px.
    """
    run, parameters = peer(name, device) if name in PEERS else ours(model, assessor, device)
    picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    seconds = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        run(picture)
        seconds.append(time.perf_counter() - start)
    return {
        "name": name,
        "side": side,
        "seconds_per_megapixel": statistics.median(seconds[1:]) / side**2 * 1e6,
        "peak_gb": peak_memory(device),
        "parameters": parameters / 1e6,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure each network in a process of its own, print a table and write JSON; exit status 1 where one could not be run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument(
        "--model", type=Path, nargs="+", default=[SHIPPED_RESTORER], help="our restorers (default: the shipped one)"
    )
    parser.add_argument("--assessor", type=Path, default=SHIPPED_ASSESSOR)
    parser.add_argument("--only", nargs="+", choices=[*PEERS, "ours"], default=["ours", *PEERS], help="measure these only")
    parser.add_argument("--side", type=int, default=1024, help="side of the square picture in px (default 1024)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    for path in (*args.model, args.assessor):
        if not path.exists():
            parser.error(f"{path}: no such file; give the path of a model")
    if args.one:
        print(json.dumps(measure(args.one, args.side, args.runs, args.model[0], args.assessor, args.device)))
        return
    print("| network | parameters (M) | side (px) | s/MP | peak memory (GB) |\n| --- | --- | --- | --- | --- |")
    names = [(name, args.model[0]) for name in args.only if name in PEERS]
    if "ours" in args.only:
        names = [(f"ours, {model.stem}", model) for model in args.model] + names
    rows, failed = [], []
    for name, model in names:
        side = min(args.side, LARGEST.get(name, args.side))
        command = [
            sys.executable,
            "-m",
            "benchmarks.peers",
            "--one",
            name,
            "--side",
            str(side),
            "--runs",
            str(args.runs),
            "--model",
            str(model.resolve()),
            "--assessor",
            str(args.assessor.resolve()),
            "--device",
            args.device,
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["no message; was there enough memory?"]
            failed.append(f"{name}: exit status {done.returncode}, {said[-1]}")
            continue
        one = json.loads(done.stdout.strip().splitlines()[-1])
        rows.append(one)
        print(
            f"| {name} | {one['parameters']:.1f} | {side} | {one['seconds_per_megapixel']:.1f} | {one['peak_gb']:.2f} |",
            flush=True,
        )
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "peers.json").write_text(json.dumps({"rows": rows, "runs": args.runs, **surroundings(args.device)}, indent=1))
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
