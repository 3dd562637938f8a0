"""``python -m benchmarks.public --data DIR`` measures a restorer and classical methods on the public set.

``python -m benchmarks.public_set`` makes the set. Gains in PSNR and SSIM of every picture, for the product's own way (estimated
map, two steps), for variants of it, and for the methods of benchmarks.classical; what undamaged pictures come back as; and what
the networks cost. Results go to runs/benchmarks as JSON, and a sheet for each class to the folder evaluation beside it;
benchmarks.report and benchmarks.targets read them. Needs requirements-benchmarks.txt, and some fifteen minutes on two cores.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from adaqual_core.damage import degrade
from adaqual_core.evaluate import psnr, ssim
from adaqual_core.imageio import read_picture
from adaqual_core.networks.shipped import SHIPPED_ASSESSOR, SHIPPED_RESTORER
from adaqual_core.pictures.pairs import Pair, find_pairs
from adaqual_core.prompt import build_prompt
from adaqual_core.published.read import load_restorer
from adaqual_core.quality.assess import Assessor, assess, open_assessor
from adaqual_core.quality.heatmap import heatmap
from adaqual_core.sampling.restore import restore
from adaqual_core.sampling.settings import settings_for

from .classical import METHODS
from .published import as_tensor, digest, surroundings

OURS = "AdaQual"
"""What the product's own way is called among the gains."""

CLEAN = "clean"
"""The class of undamaged pictures, which only the product's own way is tried on."""

SHEETS = "evaluation"
"""The folder of the sheets, beside the results."""


def to_bytes(picture: torch.Tensor) -> np.ndarray:
    """Return a picture [1, 3, H, W] in [0, 1] as uint8 [H, W, 3]."""
    return (picture[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


@cache
def networks(model: Path, assessor: Path) -> tuple[torch.nn.Module, Assessor]:
    """Return the networks in these files, loaded once per process."""
    return load_restorer(model), open_assessor(assessor)


def compare(pair: Pair, model: Path, assessor: Path) -> dict[str, tuple[float, float]]:
    """Return the gain in PSNR (dB) and in SSIM on one picture, by the name of the way it was restored. There is the product's own
    way and, unless the picture is undamaged, the same with 1 and 4 steps, without preservation, and each classical method.
    """
    net, judge = networks(model, assessor)
    clean, damaged = read_picture(pair.clean)[:, :3], read_picture(pair.degraded)[:, :3]
    prompt = build_prompt(damaged, assess(judge, damaged))
    everywhere = replace(prompt, restore_mask=torch.ones_like(prompt.restore_mask))
    ways = [(OURS, net, None, prompt)]
    if pair.group != CLEAN:
        ways += [("1 step", net, 1, prompt), ("4 steps", net, 4, prompt), ("everywhere", net, None, everywhere)]
    results = {}
    for name, used, steps, asked in ways:
        results[name] = to_bytes(restore(used, damaged, asked, settings_for(used, steps=steps)).picture)
    for name, method in METHODS.items() if pair.group != CLEAN else ():
        results[name] = method(to_bytes(damaged))
    before = float(psnr(damaged, clean)), float(ssim(damaged, clean))
    found = {name: as_tensor(pixels) for name, pixels in results.items()}
    return {name: (float(psnr(one, clean)) - before[0], float(ssim(one, clean)) - before[1]) for name, one in found.items()}


def compared(data: Path, model: Path, assessor: Path, processes: int) -> list[tuple[Pair, dict[str, tuple[float, float]]]]:
    """Return :func:`compare` of every picture of the public set, computed in this process or in several of one thread each."""
    pairs, work = find_pairs(data / "clean", data / "degraded"), partial(compare, model=model, assessor=assessor)
    with ExitStack() as stack:
        context = get_context("spawn")
        pool = stack.enter_context(context.Pool(processes, torch.set_num_threads, (1,))) if processes > 1 else None
        found = map(work, pairs) if pool is None else pool.imap(work, pairs)
        return list(zip(pairs, tqdm(found, total=len(pairs), unit="picture", disable=None), strict=True))


def sheet(rows: list[tuple[Pair, dict]], net: torch.nn.Module, judge: Assessor, path: Path) -> list[str]:
    """Write the pictures of middle and of least gain of a class as a sheet (damaged, quality map, restored, original), and return
    what they are.
    """
    ranked = sorted(rows, key=lambda row: row[1][OURS][0])
    strips, said = [], []
    for pair, row in (ranked[len(ranked) // 2], ranked[0]):
        clean, damaged = read_picture(pair.clean)[:, :3], read_picture(pair.degraded)[:, :3]
        quality = assess(judge, damaged)
        after = restore(net, damaged, build_prompt(damaged, quality)).picture
        cells = [
            Image.fromarray(to_bytes(one)).resize((300, 220)) for one in (damaged, heatmap(quality, legend=False), after, clean)
        ]
        strips.append(np.concatenate([np.asarray(cell) for cell in cells], 1))
        said.append(f"{pair.degraded.stem} {row[OURS][0]:+.1f} dB")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(strips)).save(path, quality=80)
    return said


def costs(net: torch.nn.Module, judge: Assessor) -> dict[str, list[float]]:
    """Return the parameters, billions of multiply-accumulates and seconds of both networks on a damaged photo of 512×512 px."""
    picture = read_picture(Path(skimage.data.__file__).parent / "astronaut.png")[:, :3, :512, :512]
    damaged = degrade(picture[0], ["haze", "noise"], 0.7, seed=1).picture[None]
    prompt, found = build_prompt(damaged, assess(judge, damaged)), {}
    for name, module, work in (
        ("assessor", judge, lambda: assess(judge, damaged)),
        ("restorer, two steps", net, lambda: restore(net, damaged, prompt)),
    ):
        with FlopCounterMode(display=False) as counter:
            work()
        start = time.perf_counter()
        work()
        seconds = time.perf_counter() - start
        found[name] = [sum(p.numel() for p in module.parameters()), counter.get_total_flops() / 2e9, seconds]
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and write JSON and sheets."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.public", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("runs/public"), help="folder of benchmarks.public_set")
    parser.add_argument("--model", type=Path, default=SHIPPED_RESTORER, help="restorer (default: the shipped one)")
    parser.add_argument("--assessor", type=Path, default=SHIPPED_ASSESSOR, help="assessor (default: the shipped one)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: one for each core")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    args = parser.parse_args(argv)
    net, judge = networks(args.model, args.assessor)
    rows = compared(args.data, args.model, args.assessor, args.processes)
    groups = {pair.group: [row for row in rows if row[0].group == pair.group] for pair, _ in rows if pair.group != CLEAN}
    shown = {name: sheet(group, net, judge, args.out / SHEETS / f"{name}.jpg") for name, group in groups.items()}
    pictures = [{"class": pair.group, "name": pair.degraded.stem, "gains": gains} for pair, gains in rows]
    for row, (pair, _) in zip(pictures, rows, strict=True):
        row["psnr_input"] = float(psnr(read_picture(pair.degraded)[:, :3], read_picture(pair.clean)[:, :3]))
    record = {"pictures": pictures, "shown": shown, "costs": costs(net, judge)}
    record |= {"model": digest(args.model), "assessor": digest(args.assessor), **surroundings("cpu")}
    (args.out / f"{args.model.stem}-public.json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
