"""``python -m benchmarks.promises [--large]`` measures what the README promises beside picture quality.

Prints one JSON object, and writes it to runs/benchmarks: seconds for 1024², tiles against whole, repetition, a quarter-damaged
picture, flat maps, and with --large the memory that a 6000×4000 picture needs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import skimage.data
import torch

from adaqual_core.damage import degrade
from adaqual_core.grid import CELL, severity_of
from adaqual_core.imageio import read_picture, write_picture
from adaqual_core.kinds import KINDS
from adaqual_core.networks.shipped import SHIPPED_ASSESSOR, SHIPPED_RESTORER
from adaqual_core.prompt import build_prompt
from adaqual_core.published.read import load_restorer
from adaqual_core.quality.assess import assess, open_assessor
from adaqual_core.quality.map import QualityMap
from adaqual_core.sampling.restore import restore
from adaqual_core.sampling.settings import RestoreSettings

from .assessor import quarter_mask, repeated
from .public_set import PHOTOS
from .published import digest, surroundings


def photo(height: int, width: int, name: str = "astronaut.png") -> torch.Tensor:
    """Return a real photo [3, height, width]: one of scikit-image's, mirrored and repeated to the size."""
    return repeated(read_picture(Path(skimage.data.__file__).parent / name), height, width)


def timed(function) -> tuple[float, object]:
    """Return the seconds and the result of the quicker of two calls."""
    best, result = float("inf"), None
    for _ in range(2):
        start = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - start)
    return best, result


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.promises", description=__doc__)
    parser.add_argument("--model", type=Path, default=SHIPPED_RESTORER, help="restorer (default: the shipped one)")
    parser.add_argument("--assessor", type=Path, default=SHIPPED_ASSESSOR, help="assessor (default: the shipped one)")
    parser.add_argument("--large", action="store_true", help="also restore 6000×4000 (takes minutes)")
    parser.add_argument("--side", type=int, default=1024, help="side in px of the square pictures (default 1024)")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    args = parser.parse_args(argv)
    side = args.side
    model, net = load_restorer(args.model), open_assessor(args.assessor)
    results: dict = {"threads": torch.get_num_threads()}

    clean = photo(side, side)
    hazy = degrade(clean, ["haze", "noise"], 0.7, seed=3).picture[None]

    def chain(picture):
        return restore(model, picture, build_prompt(picture, assess(net, picture)))

    results[f"seconds {side}², 2 steps, map included"], restored = timed(lambda: chain(hazy))
    results["repeated: maximum difference"] = float((chain(hazy).picture - restored.picture).abs().max())
    prompt = build_prompt(hazy, assess(net, hazy))
    whole = restore(model, hazy, prompt, RestoreSettings(tile=side)).picture
    for tile in (side // 4, side // 2):
        tiled = restore(model, hazy, prompt, RestoreSettings(tile=tile)).picture
        results[f"tile {tile} against whole: maximum difference × 255"] = float((tiled - whole).abs().max() * 255)

    mask = quarter_mask(side)
    quarters = results["a damaged quarter: tiles run, share; seconds, share of all damaged"] = {}
    for name in PHOTOS:
        one = photo(side, side, name)
        everywhere = degrade(one, ["haze", "noise"], 0.7, seed=3).picture[None]
        quarter = degrade(one, ["haze", "noise"], 0.7, seed=3, mask=mask).picture[None]
        full_seconds, _ = timed(lambda damaged=everywhere: chain(damaged))
        part_seconds, part = timed(lambda damaged=quarter: chain(damaged))
        quarters[name] = [round(part.tiles_run / part.tiles_total, 3), round(part_seconds / full_seconds, 3)]

    flat = {}
    for score in (1.0, 5.0):
        scores = torch.full((1, 1, side // CELL, side // CELL), score)
        kinds = torch.zeros(1, len(KINDS), *scores.shape[-2:])
        kinds[:, [KINDS.index("haze"), KINDS.index("noise")]] = severity_of(scores)
        told = build_prompt(hazy, QualityMap(scores, side, side, "flat", kinds))
        flat[score] = restore(model, hazy, replace(told, restore_mask=torch.ones_like(scores))).picture
    results["flat map 1 against 5: mean difference × 255"] = float((flat[1.0] - flat[5.0]).abs().mean() * 255)

    if args.large:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "large.png"), Path(folder, "out.png")
            write_picture(degrade(photo(4000, 6000), ["haze"], 0.7, seed=1).picture[None], source)
            call = [sys.executable, "-m", "adaqual_core", "restore", source, target, "--json", "--device", "cpu"]
            call += ["--model", args.model, "--assessor", args.assessor]
            printed = subprocess.run(call, check=True, capture_output=True, text=True).stdout
            results["6000×4000"] = json.loads(printed.splitlines()[-1])
    record = results | {"model": digest(args.model), "assessor": digest(args.assessor), **surroundings("cpu")}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{args.model.stem}-promises.json").write_text(json.dumps(record, indent=1))
    print(json.dumps(results, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
