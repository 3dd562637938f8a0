"""``python -m benchmarks.published --data DIR`` measures our restorers on the field's published test sets.

Mean RGB PSNR and SSIM, the worst picture, and the share of pictures made worse, each with the map that the assessor estimates
and with the true one: the difference is the assessor's share. Results go to runs/benchmarks as JSON, a sheet of the three worst
pictures of each set beside them; neither is committed. Our networks never saw these sets or their simulators: zero-shot.
``--tables`` prints the tables of all results in ``--out`` again, for docs/benchmarks.md, and measures nothing.
"""

import argparse
import hashlib
import io
import json
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from tqdm import tqdm

from adaqual_core.damage.compression import severity_of_quality
from adaqual_core.damage.fields import local_mean
from adaqual_core.damage.noise import severity_map
from adaqual_core.errors import PictureError
from adaqual_core.evaluate import psnr, ssim
from adaqual_core.grid import CELL, cell_count
from adaqual_core.imageio import write_picture
from adaqual_core.kinds import KINDS
from adaqual_core.networks.shipped import SHIPPED_ASSESSOR, SHIPPED_RESTORER
from adaqual_core.pictures.folders import find_pictures
from adaqual_core.prompt import PromptSettings, build_prompt
from adaqual_core.published.read import load_restorer
from adaqual_core.quality.assess import Assessor, assess, open_assessor
from adaqual_core.quality.map import QualityMap
from adaqual_core.quality.reference import reference_quality
from adaqual_core.sampling.restore import restore
from adaqual_core.sampling.settings import settings_for

WORSE = 0.1
"""A picture is made worse when it loses more than this many dB."""

SEED = 0
"""Of numpy's RandomState that draws the noise of all pictures of a set, one after the other by name. It starts anew for each
set, so σ 15, 25 and 50 are the same draws, scaled."""

SHOWN = 3
"""Number of worst pictures of a set on its sheet."""


@dataclass(frozen=True)
class TestSet:
    """This class is a published test set.

    ``folder`` holds ``target`` and, where the damage is not made here, ``input``. ``damage`` makes the input from the clean 8-bit
    pixels [H, W, 3] and numpy's random numbers. ``kind``: which kind of damage it is. ``level``: its strength in that protocol.
    """

    folder: str
    kind: str
    level: float = 0.0
    damage: Callable[[np.ndarray, float, np.random.RandomState], np.ndarray] | None = None


def add_noise(clean: np.ndarray, sigma: float, numbers: np.random.RandomState) -> np.ndarray:
    """Add Gaussian noise as AirNet and PromptIR do: the sum is clipped to 0-255 and truncated to 8 bits."""
    return np.clip(clean + numbers.randn(*clean.shape) * sigma, 0, 255).astype(np.uint8)


def as_jpeg(clean: np.ndarray, quality: float, numbers: np.random.RandomState) -> np.ndarray:
    """Compress pixels as JPEG by Pillow at this quality, with Pillow's own subsampling, and return them decoded."""
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
    """Return 8-bit pixels [H, W, 3] as a picture [1, 3, H, W] in [0, 1]."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def find_set(data: Path, chosen: TestSet) -> list[tuple[Path, Path | None]]:
    """Return (truth, input) of every picture of a set by name. There is no input where the damage is made here.

    Raises :class:`PictureError` where a folder is missing or empty, or a truth has no input of the same name.
    """
    targets = find_pictures(data / chosen.folder / "target")
    if chosen.damage is not None:
        return [(path, None) for path in targets]
    inputs = {path.stem: path for path in find_pictures(data / chosen.folder / "input")}
    for path in targets:
        if path.stem not in inputs:
            raise PictureError(f"{data / chosen.folder / 'input'}: no picture named {path.stem}; give each target its input")
    return [(path, inputs[path.stem]) for path in targets]


def pictures(chosen: TestSet, files: list[tuple[Path, Path | None]]) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield (name, input, truth) of every picture of a set, both pictures [1, 3, H, W] in [0, 1]."""
    numbers = np.random.RandomState(SEED)
    for target, given in files:
        clean = _pixels(target)
        degraded = _pixels(given) if given else chosen.damage(clean, chosen.level, numbers)
        yield target.stem, as_tensor(degraded), as_tensor(clean)


def true_severity(chosen: TestSet, degraded: Tensor, clean: Tensor) -> Tensor:
    """Return the severity [1, 1, H, W] of the set's kind of damage, by the definitions of :mod:`adaqual_core.damage` as far as
    they can be told from input and truth: rain and haze are read off their difference.
    """
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
    """Return the map of a perfect assessor: the reference quality, and the severity of the set's kind of damage."""
    height, width = clean.shape[-2:]
    severity = torch.nn.functional.avg_pool2d(
        true_severity(chosen, degraded, clean), CELL, CELL, ceil_mode=True, count_include_pad=False
    )
    kinds = torch.zeros(1, len(KINDS), cell_count(height), cell_count(width))
    kinds[:, KINDS.index(chosen.kind)] = severity[:, 0].clamp(0, 1)
    return QualityMap(reference_quality(degraded, clean), height, width, "reference", kinds)


def restored(model: torch.nn.Module, degraded: Tensor, quality: QualityMap, prompts: PromptSettings | None = None) -> Tensor:
    """Return the restored picture, rounded to 8 bits as it would be written."""
    prompt = build_prompt(degraded, quality, prompts or PromptSettings())
    found = restore(model, degraded, prompt, settings_for(model)).picture
    return (found.clamp(0, 1) * 255).round() / 255


def sheet_row(title: str, cells: Sequence[Tensor]) -> np.ndarray:
    """Return a row of a sheet, uint8 [h, w, 3]: pictures [1, 3, H, W] in [0, 1] of equal size side by side, above them a
    title.
    """
    row = (torch.cat(list(cells), 3)[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    head = Image.new("RGB", (row.shape[1], 16))
    ImageDraw.Draw(head).text((4, 2), title, fill="white")
    return np.concatenate((np.asarray(head), row))


def write_sheet(rows: Sequence[np.ndarray], path: Path) -> None:
    """Write rows [h, w, 3] below each other; narrower ones are filled up with black at their right."""
    width = max(row.shape[1] for row in rows)
    filled = np.concatenate([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows])
    write_picture(as_tensor(filled), path)


def measure(files: list[tuple[Path, Path | None]], name: str, model: torch.nn.Module, assessor: Assessor, sheet: Path) -> dict:
    """Return what a set shows: means, worst picture and share made worse, for the estimated and the true map.

    Writes the sheet of the pictures that lose most with the estimated map: input, result, truth.
    """
    chosen, rows, worst = SETS[name], [], []
    for stem, degraded, clean in tqdm(pictures(chosen, files), total=len(files), desc=name, unit="picture", disable=None):
        estimated, true = assess(assessor, degraded), true_map(chosen, degraded, clean)
        if estimated.kinds is None:
            true = replace(true, kinds=None)
        row = {"name": stem, "psnr_input": float(psnr(degraded, clean)), "ssim_input": float(ssim(degraded, clean))}
        for key, quality in (("estimated", estimated), ("true", true)):
            found = restored(model, degraded, quality)
            row |= {f"psnr_{key}": float(psnr(found, clean)), f"ssim_{key}": float(ssim(found, clean))}
            if key == "estimated":
                gain = row["psnr_estimated"] - row["psnr_input"]
                title = f"{name}, {stem}: {gain:+.2f} dB. Input, result, truth"
                worst = sorted([*worst, (gain, title, (degraded, found, clean))], key=lambda one: one[0])[:SHOWN]
        rows.append(row)
    write_sheet([sheet_row(title, cells) for _, title, cells in worst], sheet)
    return summary(rows) | {"pictures": rows}


def summary(rows: list[dict]) -> dict:
    """Return the means over pictures; for each map also the worst gain, its picture, and the share made worse."""
    found: dict = {key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key != "name"}
    for key in ("estimated", "true"):
        gains = [row[f"psnr_{key}"] - row["psnr_input"] for row in rows]
        found |= {f"worst_{key}": min(gains), f"worst_picture_{key}": rows[int(np.argmin(gains))]["name"]}
        found[f"worse_{key}"] = float(np.mean([gain < -WORSE for gain in gains]))
    return found | {"count": len(rows)}


def table(results: dict[str, dict]) -> str:
    """Return a Markdown table of the sets measured: in each pair of figures, the estimated map's is before that of the
    true map.
    """
    lines = [
        "| set | pictures | input | restored (true map) | SSIM input | restored (true map) "
        "| worst picture, dB (true map) | made worse (true map) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in results.items():
        lines.append(
            f"| {name} | {one['count']} | {one['psnr_input']:.2f} | {one['psnr_estimated']:.2f} ({one['psnr_true']:.2f}) "
            f"| {one['ssim_input']:.3f} | {one['ssim_estimated']:.3f} ({one['ssim_true']:.3f}) "
            f"| {one['worst_picture_estimated']} {one['worst_estimated']:+.2f} "
            f"({one['worst_picture_true']} {one['worst_true']:+.2f}) "
            f"| {100 * one['worse_estimated']:.0f} % ({100 * one['worse_true']:.0f} %) |"
        )
    return "\n".join(lines)


def comparison_row(title: str, results: dict[str, dict]) -> str:
    """Return a row for the table of published numbers in docs/benchmarks.md: mean RGB PSNR with the estimated map, – where
    unknown.
    """

    def cell(*names: str) -> str:
        return " / ".join(f"{results[name]['psnr_estimated']:.2f}" if name in results else "–" for name in names)

    noise = cell("CBSD68 15", "CBSD68 25", "CBSD68 50")
    return f"| {title}, zero-shot | {noise} | {cell('Rain100L')} | {cell('LIVE1 10', 'LIVE1 20', 'LIVE1 40')} |"


def stem_of(name: str) -> str:
    """Return the name of a set in file names."""
    return name.lower().replace(" ", "-")


def read_results(out: Path) -> dict[str, dict[str, dict]]:
    """Return the results by model and set of all JSON files that this script wrote into a folder; PictureError where there are
    none.
    """
    found: dict[str, dict[str, dict]] = {}
    for name in SETS:
        for path in sorted(out.glob(f"*-{stem_of(name)}.json")):
            found.setdefault(path.name.removesuffix(f"-{stem_of(name)}.json"), {})[name] = json.loads(path.read_text())
    if not found:
        raise PictureError(f"{out}: holds no results; measure first, without --tables")
    return found


def surroundings(device: str) -> dict[str, str]:
    """Return versions and machine, as far as figures can depend on them."""
    card = f", {torch.cuda.get_device_name(device)}" if torch.device(device).type == "cuda" else ""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads{card}",
        "device": device,
    }


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or the path of a folder."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(path)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the sets, print the tables, and write JSON and sheets."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.published", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with rain100l, cbsd68, live1 and sots_indoor")
    parser.add_argument("--set", nargs="+", choices=list(SETS), default=list(SETS), help="measure these sets only")
    parser.add_argument("--model", type=Path, default=SHIPPED_RESTORER, help="restorer (default: the shipped one)")
    parser.add_argument("--assessor", type=Path, default=SHIPPED_ASSESSOR, help="assessor (default: the shipped one)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--tables", action="store_true", help="print the tables of the results in --out, measure nothing")
    args = parser.parse_args(argv)
    if not args.tables:
        if args.data is None:
            parser.error("--data: missing; give the folder of the published sets")
        files = {name: find_set(args.data, SETS[name]) for name in args.set}
        model, assessor = load_restorer(args.model).to(args.device), open_assessor(args.assessor, args.device)
        args.out.mkdir(parents=True, exist_ok=True)
        for name in args.set:
            stem = f"{args.model.stem}-{stem_of(name)}"
            found = measure(files[name], name, model, assessor, args.out / f"{stem}.png")
            found |= {"model": digest(args.model), "assessor": digest(args.assessor), **surroundings(args.device)}
            (args.out / f"{stem}.json").write_text(json.dumps(found, indent=1))
    for title, results in read_results(args.out).items():
        print(f"\n{title}\n\n{table(results)}\n\n{comparison_row(title, results)}")


if __name__ == "__main__":
    main()
