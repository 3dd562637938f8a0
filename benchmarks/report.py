"""Writes docs/evaluation.md and its sheets: ``python -m benchmarks.report``.

The restorer and classical methods on the public set (benchmarks.public_set makes it), the assessor against the full-reference
target, against corruption levels beside BRISQUE, and against regions of damage. Needs requirements-benchmarks.txt. About
fifteen minutes on two cores.
"""

import argparse
import time
from collections import defaultdict
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image
from scipy.stats import mannwhitneyu, pearsonr, spearmanr
from skimage.filters import gaussian
from torch.utils.flop_counter import FlopCounterMode

from adaqual_core.damage import degrade
from adaqual_core.damage.draws import Draws
from adaqual_core.damage.fields import region_mask
from adaqual_core.evaluate import psnr, ssim
from adaqual_core.imageio import read_picture
from adaqual_core.networks.denoiser import Denoiser
from adaqual_core.networks.shipped import SHIPPED_DENOISER
from adaqual_core.pictures.pairs import Pair, find_pairs
from adaqual_core.prompt import build_prompt
from adaqual_core.published.read import load_restorer
from adaqual_core.quality.bundled import AssessorNet, estimate_quality, load_assessor
from adaqual_core.quality.heatmap import heatmap
from adaqual_core.quality.reference import reference_quality
from adaqual_core.sampling.restore import restore
from adaqual_core.sampling.settings import RestoreSettings
from benchmarks.classical import METHODS
from benchmarks.public_set import PHOTOS, corrupted


def old_gaussian(image: np.ndarray, sigma: float, multichannel: bool = False, **settings) -> np.ndarray:
    """scikit-image's Gaussian filter as it was called up to version 0.18, for which imagecorruptions was written."""
    return gaussian(image, sigma, channel_axis=-1 if multichannel else None, **settings)


def corruption_names() -> list[str]:
    """All kinds of the package imagecorruptions, which is imported and made to work with today's scikit-image here."""
    np.float_ = np.float64  # the package was written for NumPy 1
    import imagecorruptions.corruptions

    imagecorruptions.corruptions.gaussian = old_gaussian
    return imagecorruptions.get_corruption_names("all")


SHEETS = Path("evaluation")


def to_bytes(picture: torch.Tensor) -> np.ndarray:
    """[1, 3, H, W] in [0, 1] → uint8 [H, W, 3]."""
    return (picture[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """uint8 [H, W, 3] → [1, 3, H, W] in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 255


@cache
def networks() -> tuple[Denoiser, AssessorNet]:
    """The shipped weights, loaded once per process."""
    return load_restorer(SHIPPED_DENOISER), load_assessor()


@cache
def sampler_alone() -> Denoiser:
    """The shipped restorer without its finish, loaded once per process."""
    model = load_restorer(SHIPPED_DENOISER)
    model.finish = None
    return model


def compare(pair: Pair) -> dict[str, tuple[float, float]]:
    """With the shipped weights: (PSNR gain in dB, SSIM gain) of the restorer with 1, 2 and 4 steps, of it without
    preservation, without its finish, and of each method."""
    model, net = networks()
    bare = sampler_alone()
    clean, damaged = read_picture(pair.clean)[:, :3], read_picture(pair.degraded)[:, :3]
    prompt = build_prompt(damaged, estimate_quality(net, damaged))
    before = float(psnr(damaged, clean)), float(ssim(damaged, clean))
    results = {}
    for name, used, steps, asked in (
        ("AdaQual", model, 2, prompt),
        ("1 step", model, 1, prompt),
        ("4 steps", model, 4, prompt),
        ("everywhere", model, 2, replace(prompt, restore_mask=torch.ones_like(prompt.restore_mask))),
        ("no finish", bare, 2, prompt),
    ):
        results[name] = to_bytes(restore(used, damaged, asked, RestoreSettings(steps=steps)).picture)
    for name, method in METHODS.items():
        results[name] = method(to_bytes(damaged))
    return {
        name: (float(psnr(to_tensor(pixels), clean)) - before[0], float(ssim(to_tensor(pixels), clean)) - before[1])
        for name, pixels in results.items()
    }


Gains = dict[str, list[tuple[Pair, dict[str, tuple[float, float]]]]]
"""The pictures of each class with what :func:`compare` found for them."""


def compared(public: Path) -> Gains:
    """Compare on every damaged picture of the public set, in as many processes as there are cores."""
    gains: Gains = defaultdict(list)
    pairs = [pair for pair in find_pairs(public / "clean", public / "degraded") if pair.group != "clean"]
    with get_context("spawn").Pool(initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for pair, row in zip(pairs, pool.imap(compare, pairs), strict=True):
            gains[pair.group].append((pair, row))
            print(pair.group, pair.degraded.name, round(row["AdaQual"][0], 2), flush=True)
    return gains


def restoration(gains: Gains, out: Path, model: Denoiser, net: AssessorNet) -> list[str]:
    """Tables of gains per class, and a sheet per class of the middle and the worst picture."""
    names = list(next(iter(gains.values()))[0][1])
    lines = []
    for title, which, places in (("PSNR, dB", 0, 2), ("SSIM", 1, 3)):
        lines += ["", f"Gain in {title}:", "", "| class | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
        for group, rows in gains.items():
            means = [float(np.mean([row[name][which] for _, row in rows])) for name in names]
            best = max(means)
            cells = [f"**{mean:+.{places}f}**" if mean == best else f"{mean:+.{places}f}" for mean in means]
            lines.append(f"| {group} ({len(rows)}) | " + " | ".join(cells) + " |")
    lines += ["", "Damaged, quality map, restored, original; above the picture of middle gain, below the one of least:", ""]
    for group, rows in gains.items():
        ranked = sorted(rows, key=lambda row: row[1]["AdaQual"][0])
        strips, said = [], []
        for pair, row in (ranked[len(ranked) // 2], ranked[0]):
            clean, damaged = read_picture(pair.clean)[:, :3], read_picture(pair.degraded)[:, :3]
            quality = estimate_quality(net, damaged)
            after = restore(model, damaged, build_prompt(damaged, quality)).picture
            shown = (damaged, heatmap(quality, legend=False), after, clean)
            cells = [Image.fromarray(to_bytes(picture)).resize((300, 220)) for picture in shown]
            strips.append(np.concatenate([np.asarray(cell) for cell in cells], 1))
            said.append(f"{pair.degraded.stem} {row['AdaQual'][0]:+.1f} dB")
        sheet = out / SHEETS / f"{group}.jpg"
        sheet.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.concatenate(strips)).save(sheet, quality=80)
        lines += [f"{group}: {said[0]}; {said[1]}", "", f"![{group}]({SHEETS}/{group}.jpg)", ""]
    return lines


def costs(model: Denoiser, net: AssessorNet) -> list[str]:
    """Parameters, multiply-accumulates and seconds of both networks at 512×512."""
    picture = read_picture(Path(skimage.data.__file__).parent / "astronaut.png")[:, :3, :512, :512]
    damaged = degrade(picture[0], ["haze", "noise"], 0.7, seed=1).picture[None]
    quality = estimate_quality(net, damaged)
    rows = []
    for name, module, work in (
        ("assessor", net, lambda: estimate_quality(net, damaged)),
        ("restorer, 2 steps and finish", model, lambda: restore(model, damaged, build_prompt(damaged, quality))),
    ):
        with FlopCounterMode(display=False) as counter:
            work()
        start = time.perf_counter()
        work()
        seconds = time.perf_counter() - start
        parameters = sum(p.numel() for p in module.parameters())
        rows.append(f"| {name} | {parameters:,} | {counter.get_total_flops() / 2e9:.1f} | {seconds:.2f} |")
    head = ["", "| network | parameters | GMAC at 512² | seconds |", "| --- | --- | --- | --- |"]
    return head + rows


def against_target(public: Path, net: AssessorNet) -> list[str]:
    """Rank and linear correlation over cells with the full-reference target, per class and over all."""
    pairs: dict[str, list] = defaultdict(list)
    for file in sorted((public / "degraded").glob("*/*.png")):
        picture, clean = read_picture(file)[:, :3], read_picture(public / "clean" / file.name)[:, :3]
        found, true = estimate_quality(net, picture).scores.flatten(), reference_quality(picture, clean).flatten()
        pairs[file.parent.name].append((found, true))
    pairs["all, clean ones too"] = [pair for group in list(pairs.values()) for pair in group]
    lines = ["", "| class | Spearman | Pearson |", "| --- | --- | --- |"]
    for name, group in pairs.items():
        if name == "clean":
            continue
        found, true = (torch.cat(part).numpy() for part in zip(*group, strict=True))
        lines.append(f"| {name} | {spearmanr(found, true).statistic:.3f} | {pearsonr(found, true).statistic:.3f} |")
    return lines


def brisque_score():
    """A function uint8 [H, W, 3] → BRISQUE (0 best), of the package brisque."""
    from brisque import BRISQUE

    class Assessor(BRISQUE):
        def scale_features(self, features):  # the package predates NumPy 2.4: some features are arrays of one
            return super().scale_features([float(np.ravel(feature)[0]) for feature in features])

    return Assessor(url=False).score


def against_levels(net: AssessorNet) -> list[str]:
    """Rank correlation of −(mean quality), and of BRISQUE, with the level 0 to 5 of every kind of imagecorruptions."""
    folder = Path(skimage.data.__file__).parent
    photos = [np.asarray(Image.open(folder / name).convert("RGB"))[20:276, 60:316] for name in PHOTOS]
    brisque = brisque_score()
    rows, everything = [], []
    for kind in corruption_names():
        found = []
        for number, photo in enumerate(photos):
            for level in range(6):
                np.random.seed(100 * number + level)
                damaged = photo if level == 0 else corrupted(photo, kind, level)
                quality = float(estimate_quality(net, to_tensor(damaged)).mean)
                found.append((level, -quality, brisque(damaged)))
        everything += found
        levels, ours, theirs = zip(*found, strict=True)
        rows.append((kind, spearmanr(levels, ours).statistic, spearmanr(levels, theirs).statistic))
    levels, ours, theirs = zip(*everything, strict=True)
    rows.append(("**all kinds**", spearmanr(levels, ours).statistic, spearmanr(levels, theirs).statistic))
    lines = ["", "| kind | AdaQual | BRISQUE |", "| --- | --- | --- |"]
    return lines + [f"| {kind.replace('_', ' ')} | {ours:.3f} | {theirs:.3f} |" for kind, ours, theirs in rows]


def localisation(net: AssessorNet) -> list[str]:
    """Area under the ROC curve with which a cell's score tells damaged from untouched cells of one picture."""
    folder = Path(skimage.data.__file__).parent
    lines = ["", "| damage in a region | AUC |", "| --- | --- |"]
    for kinds in (("haze",), ("low",), ("rain",), ("snow",), ("noise",), ("jpeg",), ("blur",), ("haze", "rain")):
        areas = []
        for number, name in enumerate(PHOTOS):
            photo = read_picture(folder / name)[0, :3]
            height, width = (side // 16 * 16 for side in photo.shape[-2:])
            mask = region_mask(height, width, Draws(number, "region"))
            damaged = degrade(photo[:, :height, :width], kinds, 0.7, seed=number, mask=mask).picture[None]
            scores = estimate_quality(net, damaged).scores[0, 0]
            share = torch.nn.functional.avg_pool2d(mask[None], 16)[0, 0]
            good, bad = scores[share < 0.1].numpy(), scores[share > 0.9].numpy()
            if len(good) and len(bad):
                areas.append(mannwhitneyu(good, bad).statistic / (len(good) * len(bad)))
        lines.append(f"| {'+'.join(kinds)} | {np.mean(areas):.3f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--public", type=Path, default=Path("runs/public"))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    args = parser.parse_args()
    model, net = networks()
    lines = [
        "# Evaluation of the shipped weights",
        "",
        "Made by `python -m benchmarks.report` on two CPU cores. The pictures are scikit-image's photos, damaged by",
        "albumentations and imagecorruptions (`python -m benchmarks.public_set`); neither these photos nor this code was used",
        "in training. LPIPS is not given: no package carries the weights of its backbones.",
        "",
        "## Restoration",
        "",
        "AdaQual: two steps, preservation at 4.5. 1 step, 4 steps: the same weights. Everywhere: without preservation. No",
        "finish: the sampler's result as it is. Then the classical methods (benchmarks/classical.py), every one on every class.",
        "The best of a row is bold.",
        *restoration(compared(args.public), args.out, model, net),
        "## Cost",
        *costs(model, net),
        "",
        "## The assessor",
        "",
        "Correlation over cells with the full-reference target (adaqual_core/quality/reference.py):",
        *against_target(args.public, net),
        "",
        "Spearman correlation of a picture's mean score with the corruption level 0 to 5, five photos of 256×256 (1 is best):",
        *against_levels(net),
        "",
        "Telling damaged from untouched cells (random region, severity 0.7, our degradations):",
        *localisation(net),
        "",
    ]
    args.out.mkdir(exist_ok=True)
    (args.out / "evaluation.md").write_text("\n".join(lines))


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
