"""``python -m benchmarks.published --data DIR``: our restorers on the field's published test sets.

Mean RGB PSNR and SSIM, the worst picture, and the share of pictures made worse, each with the map that the assessor estimates
and with the true one: the difference is the assessor's share. Results go to runs/benchmarks as JSON, a sheet of the three worst
pictures of each set beside them; neither is committed. Our networks never saw these sets or their simulators: zero-shot.
"""

import argparse
import hashlib
import io
import json
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from adaqual_core.damage.compression import severity_of_quality
from adaqual_core.damage.fields import local_mean
from adaqual_core.damage.noise import severity_map
from adaqual_core.evaluate import psnr, ssim
from adaqual_core.grid import CELL, cell_count
from adaqual_core.imageio import write_picture
from adaqual_core.kinds import KINDS
from adaqual_core.networks.shipped import SHIPPED_ASSESSOR, SHIPPED_DENOISER
from adaqual_core.prompt import build_prompt
from adaqual_core.published.read import load_restorer
from adaqual_core.quality.assess import Assessor, assess, open_assessor
from adaqual_core.quality.map import QualityMap
from adaqual_core.quality.reference import reference_quality
from adaqual_core.sampling.families import restore_with, settings_for

WORSE = 0.1
"""A picture is made worse when it loses more than this many dB."""

SEED = 0
"""Of numpy's RandomState that draws the noise of all pictures of a set, one after the other."""


@dataclass(frozen=True)
class TestSet:
    """A published test set.

    ``folder`` holds ``target`` and, where the damage is not made here, ``input``. ``damage`` makes the input from the clean 8-bit
    pixels [H, W, 3] and numpy's random numbers. ``kind``: which kind of damage it is. ``level``: its strength in that protocol.
    """

    folder: str
    kind: str
    level: float = 0.0
    damage: Callable[[np.ndarray, float, np.random.RandomState], np.ndarray] | None = None


def add_noise(clean: np.ndarray, sigma: float, numbers: np.random.RandomState) -> np.ndarray:
    """Gaussian noise as AirNet and PromptIR make it: added, clipped to 0-255, truncated to 8 bits."""
    return np.clip(clean + numbers.randn(*clean.shape) * sigma, 0, 255).astype(np.uint8)


def as_jpeg(clean: np.ndarray, quality: float, numbers: np.random.RandomState) -> np.ndarray:
    """JPEG by Pillow at this quality, with Pillow's own subsampling."""
    buffer = io.BytesIO()
    Image.fromarray(clean).save(buffer, "JPEG", quality=int(quality))
    return np.asarray(Image.open(buffer).convert("RGB"))


SETS = {
    "Rain100L": TestSet("rain100l", "rain"),
    "CBSD68 15": TestSet("cbsd68", "noise", 15, add_noise),
    "CBSD68 25": TestSet("cbsd68", "noise", 25, add_noise),
    "CBSD68 50": TestSet("cbsd68", "noise", 50, add_noise),
    "LIVE1 10": TestSet("live1", "jpeg", 10, as_jpeg),
    "LIVE1 20": TestSet("live1", "jpeg", 20, as_jpeg),
    "LIVE1 40": TestSet("live1", "jpeg", 40, as_jpeg),
    "SOTS-indoor": TestSet("sots_indoor", "haze"),
}


def as_tensor(pixels: np.ndarray) -> Tensor:
    """8-bit pixels [H, W, 3] as a picture [1, 3, H, W] in [0, 1]."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def pictures(data: Path, chosen: TestSet) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(name, input, truth) of every picture of a set, both [1, 3, H, W] in [0, 1]."""
    folder, numbers = data / chosen.folder, np.random.RandomState(SEED)
    targets = sorted(path for path in (folder / "target").iterdir() if path.is_file())
    inputs = {path.stem: path for path in (folder / "input").iterdir()} if chosen.damage is None else {}
    for path in targets:
        clean = _pixels(path)
        degraded = chosen.damage(clean, chosen.level, numbers) if chosen.damage else _pixels(inputs[path.stem])
        yield path.stem, as_tensor(degraded), as_tensor(clean)


def true_severity(chosen: TestSet, degraded: Tensor, clean: Tensor) -> Tensor:
    """Severity [1, 1, H, W] of the set's kind of damage, by the definitions of :mod:`adaqual_core.damage` as far as they can be
    told from input and truth: rain and haze are read off their difference."""
    if chosen.kind == "noise":
        return severity_map(clean[0], degraded[0])[None]
    if chosen.kind == "jpeg":
        return torch.full_like(clean[:, :1], severity_of_quality(chosen.level))
    change = (degraded - clean).abs().amax(1)
    if chosen.kind == "rain":
        return (3 * local_mean(change, 64)).sqrt().clamp(0, 1)[None]
    airlight = degraded.flatten(2).quantile(0.99, 2).view(1, 3, 1, 1)
    room = (airlight - clean).abs().clamp_min(0.1).amax(1)
    return local_mean((change / room).clamp(0, 1), 32)[None]


def true_map(chosen: TestSet, degraded: Tensor, clean: Tensor) -> QualityMap:
    """The map of a perfect assessor: the reference quality, and the severity of the set's kind of damage."""
    height, width = clean.shape[-2:]
    severity = torch.nn.functional.avg_pool2d(
        true_severity(chosen, degraded, clean), CELL, CELL, ceil_mode=True, count_include_pad=False
    )
    kinds = torch.zeros(1, len(KINDS), cell_count(height), cell_count(width))
    kinds[:, KINDS.index(chosen.kind)] = severity[:, 0].clamp(0, 1)
    return QualityMap(reference_quality(degraded, clean), height, width, "reference", kinds)


def restored(model: torch.nn.Module, degraded: Tensor, quality: QualityMap) -> Tensor:
    """The restored picture, rounded to 8 bits as it would be written."""
    found = restore_with(model, degraded, build_prompt(degraded, quality), settings_for(model)).picture
    return (found.clamp(0, 1) * 255).round() / 255


def measure(data: Path, name: str, model: torch.nn.Module, assessor: Assessor, sheet: Path | None) -> dict:
    """What a set shows: means, worst picture and share made worse, for the estimated and the true map."""
    chosen, rows, worst = SETS[name], [], []
    everything = list(pictures(data, chosen))
    for stem, degraded, clean in tqdm(everything, desc=name, unit="picture", disable=None):
        estimated, true = assess(assessor, degraded), true_map(chosen, degraded, clean)
        if estimated.kinds is None:
            true = replace(true, kinds=None)
        row = {"name": stem, "psnr_input": float(psnr(degraded, clean)), "ssim_input": float(ssim(degraded, clean))}
        for key, quality in (("estimated", estimated), ("true", true)):
            found = restored(model, degraded, quality)
            row |= {f"psnr_{key}": float(psnr(found, clean)), f"ssim_{key}": float(ssim(found, clean))}
            if key == "estimated":
                worst.append((row["psnr_estimated"] - row["psnr_input"], torch.cat((degraded, found, clean), 3)))
        rows.append(row)
    if sheet is not None:
        worst.sort(key=lambda pair: pair[0])
        width = max(picture.shape[-1] for _, picture in worst[:3])
        padded = [torch.nn.functional.pad(picture, (0, width - picture.shape[-1])) for _, picture in worst[:3]]
        write_picture(torch.cat(padded, 2), sheet)
    return summary(rows) | {"pictures": rows}


def summary(rows: list[dict]) -> dict:
    """Means over pictures; for each map the worst gain, its picture, and the share made worse."""
    found: dict = {key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key != "name"}
    for key in ("estimated", "true"):
        gains = [row[f"psnr_{key}"] - row["psnr_input"] for row in rows]
        found |= {f"worst_{key}": min(gains), f"worst_picture_{key}": rows[int(np.argmin(gains))]["name"]}
        found[f"worse_{key}"] = float(np.mean([gain < -WORSE for gain in gains]))
    return found | {"count": len(rows)}


def table(results: dict[str, dict]) -> str:
    """A Markdown table of the sets measured."""
    lines = [
        "| set | pictures | input | estimated map | true map | SSIM input → restored | worst picture (dB) | made worse |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in results.items():
        lines.append(
            f"| {name} | {one['count']} | {one['psnr_input']:.2f} | {one['psnr_estimated']:.2f} | {one['psnr_true']:.2f} "
            f"| {one['ssim_input']:.3f} → {one['ssim_estimated']:.3f} | {one['worst_estimated']:+.2f} "
            f"({one['worst_picture_estimated']}) | {100 * one['worse_estimated']:.0f} % |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure the sets, print the table, and write JSON and sheets."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.published", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with rain100l, cbsd68, live1 and sots_indoor")
    parser.add_argument("--set", nargs="+", choices=list(SETS), default=list(SETS), help="measure these sets only")
    parser.add_argument("--model", type=Path, default=SHIPPED_DENOISER, help="restorer (default: the shipped one)")
    parser.add_argument("--assessor", type=Path, default=SHIPPED_ASSESSOR, help="assessor (default: the shipped one)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    args = parser.parse_args()
    model, assessor = load_restorer(args.model).to(args.device), open_assessor(args.assessor, args.device)
    args.out.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in args.set:
        stem = name.lower().replace(" ", "-")
        results[name] = measure(args.data, name, model, assessor, args.out / f"{args.model.stem}-{stem}.png")
        record = results[name] | {
            "model": hashlib.sha256(args.model.read_bytes()).hexdigest(),
            "assessor": hashlib.sha256(args.assessor.read_bytes()).hexdigest() if args.assessor.is_file() else str(args.assessor),
            "torch": torch.__version__,
            "machine": platform.processor() or platform.machine(),
        }
        (args.out / f"{args.model.stem}-{stem}.json").write_text(json.dumps(record, indent=1))
    print(table(results))


if __name__ == "__main__":
    main()
