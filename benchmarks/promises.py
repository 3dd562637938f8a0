"""Measures what the README promises beside picture quality: ``python -m benchmarks.promises [--corpus DIR] [--large]``.

Prints one JSON object: seconds for 1024², tiles against whole, repetition, a quarter-damaged picture, flat maps, the map's
rank correlation with true quality on the public set (benchmarks.public_set makes it), and with --large the memory that a
6000×4000 picture needs.
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
from scipy.stats import spearmanr

from adaqual_core.damage import degrade
from adaqual_core.grid import CELL
from adaqual_core.imageio import read_picture, write_picture
from adaqual_core.networks.shipped import SHIPPED_DENOISER
from adaqual_core.prompt import build_prompt
from adaqual_core.published.read import load_restorer
from adaqual_core.quality.bundled import estimate_quality, load_assessor
from adaqual_core.quality.map import QualityMap
from adaqual_core.quality.reference import reference_quality
from adaqual_core.sampling.restore import restore
from adaqual_core.sampling.settings import RestoreSettings
from adaqual_core.sampling.tiles import active_tiles, plan
from adaqual_training.held_out import as_picture, held_out
from adaqual_training.recipe import read_recipe
from adaqual_training.scenes import Photos

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "assessor.toml"
PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")


PER_GROUP = 12
"""Held-out scenes per group of damage over which the map's correlation is taken."""


def photo(height: int, width: int, name: str = "astronaut.png") -> torch.Tensor:
    """A real photo [3, height, width]: one of scikit-image's, mirrored and repeated to the size."""
    return repeated(read_picture(Path(skimage.data.__file__).parent / name), height, width)


def repeated(picture: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """[1, 3, h, w] mirrored and repeated to [3, height, width]."""
    picture = torch.cat((picture, picture.flip(-1)), -1)
    picture = torch.cat((picture, picture.flip(-2)), -2)
    rows, columns = -(-height // picture.shape[-2]), -(-width // picture.shape[-1])
    return picture.repeat(1, 1, rows, columns)[0, :, :height, :width].contiguous()


def timed(function) -> tuple[float, object]:
    """Seconds and result of the quicker of two calls."""
    best, result = float("inf"), None
    for _ in range(2):
        start = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - start)
    return best, result


def quarter_mask(side: int = 1024) -> torch.Tensor:
    """[1, side, side], 1 in one quarter."""
    mask = torch.zeros(1, side, side)
    mask[:, : side // 2, : side // 2] = 1
    return mask


def held_out_quarters(net, corpus: Path, side: int) -> dict[str, float]:
    """The median share of tiles run, and how many photos stay at 0.4, of the corpus' held-out photos.

    Each is made ``side`` px wide and high and damaged in one quarter.
    """
    photos, shares = Photos(corpus, "held"), []
    for index in range(len(photos.entries)):
        one = repeated(as_picture(torch.from_numpy(photos.pixels(index).copy()).permute(2, 0, 1)[None]), side, side)
        damaged = degrade(one, ["haze", "noise"], 0.7, seed=3, mask=quarter_mask(side)).picture[None]
        mask = build_prompt(damaged, estimate_quality(net, damaged)).restore_mask
        layout = plan(active_tiles(mask), side, side, 512, 96)
        shares.append(layout.tiles_run / layout.tiles_total)
    return {"photos": len(shares), "median share": sorted(shares)[len(shares) // 2],
            "share of photos at 0.4 or less": sum(share <= 0.4 for share in shares) / len(shares)}  # fmt: skip


def held_out_correlation(net, corpus: Path) -> float:
    """Spearman correlation of estimated with true quality over the cells of PER_GROUP held-out scenes per group of damage."""
    scenes = [case.scene for case in held_out(corpus, read_recipe(RECIPE).scenes, PER_GROUP)]
    estimated = torch.cat([estimate_quality(net, as_picture(scene["degraded"])).scores.flatten() for scene in scenes])
    return round(float(spearmanr(estimated, torch.cat([scene["quality"].flatten() for scene in scenes])).statistic), 3)


def map_correlation(net, folder: Path) -> dict[str, float]:
    """Spearman correlation of estimated with true quality over the cells of every class, and of all together."""
    estimated, true = {}, {}
    for file in sorted((folder / "degraded").glob("*/*.png")):
        picture, clean = read_picture(file), read_picture(folder / "clean" / file.name)
        estimated.setdefault(file.parent.name, []).append(estimate_quality(net, picture).scores.flatten())
        true.setdefault(file.parent.name, []).append(reference_quality(picture, clean).flatten())
    rows = {name: (torch.cat(estimated[name]), torch.cat(true[name])) for name in estimated if name != "clean"}
    rows["all, clean ones too"] = tuple(torch.cat(sum(part.values(), [])) for part in (estimated, true))
    return {name: round(float(spearmanr(*pair).statistic), 3) for name, pair in rows.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--public", type=Path, default=Path("runs/public"))
    parser.add_argument(
        "--corpus", type=Path, help="folder of adaqual_training.corpus: also a damaged quarter of its held-out photos"
    )
    parser.add_argument("--large", action="store_true", help="also restore 6000×4000 (takes minutes)")
    parser.add_argument("--side", type=int, default=1024, help="side in px of the square pictures (default 1024)")
    args = parser.parse_args(argv)
    side = args.side
    model, net = load_restorer(SHIPPED_DENOISER), load_assessor()
    results: dict = {"threads": torch.get_num_threads()}

    clean = photo(side, side)
    hazy = degrade(clean, ["haze", "noise"], 0.7, seed=3).picture[None]

    def chain(picture):
        return restore(model, picture, build_prompt(picture, estimate_quality(net, picture)))

    results[f"seconds {side}², 2 steps, map included"], restored = timed(lambda: chain(hazy))
    results["repeated: maximum difference"] = float((chain(hazy).picture - restored.picture).abs().max())
    prompt = build_prompt(hazy, estimate_quality(net, hazy))
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
        told = build_prompt(hazy, QualityMap(scores, side, side, "flat"))
        flat[score] = restore(model, hazy, replace(told, restore_mask=torch.ones_like(scores))).picture
    results["flat map 1 against 5: mean difference × 255"] = float((flat[1.0] - flat[5.0]).abs().mean() * 255)

    if (args.public / "degraded").is_dir():
        results["map: Spearman with true quality"] = map_correlation(net, args.public)
    if args.corpus:
        results["held-out photos: Spearman with true quality"] = held_out_correlation(net, args.corpus)
        results["held-out photos with a damaged quarter: tiles run"] = held_out_quarters(net, args.corpus, side)
    if args.large:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "large.png"), Path(folder, "out.png")
            write_picture(degrade(photo(4000, 6000), ["haze"], 0.7, seed=1).picture[None], source)
            call = [sys.executable, "-m", "adaqual_core", "restore", source, target, "--json"]
            printed = subprocess.run(call, check=True, capture_output=True, text=True).stdout
            results["6000×4000"] = json.loads(printed.splitlines()[-1])
    print(json.dumps(results, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
