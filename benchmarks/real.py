"""``python -m benchmarks.real --data DIR`` restores real damaged photos, for which no truth exists, and gives a sheet to look at
and four figures.

The sheet shows, for every photo, the input, the result, and the map of each kind of damage that is present (or the overall map
where the assessor names no kinds). The figures compare input and result; none of them says that a picture looks good. Sheet and
JSON go to runs/benchmarks; the photos and their sheets are not committed.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from adaqual_core.filters import luma
from adaqual_core.imageio import read_picture
from adaqual_core.kinds import KINDS
from adaqual_core.networks.shipped import SHIPPED_ASSESSOR, SHIPPED_RESTORER
from adaqual_core.pictures.folders import find_pictures
from adaqual_core.published.read import load_restorer
from adaqual_core.quality.assess import assess, open_assessor
from adaqual_core.quality.heatmap import heatmap
from adaqual_core.quality.map import QualityMap

from .published import digest, restored, sheet_row, surroundings, write_sheet

SIDE = 320
"""Longer side in px of a picture on the sheet."""

PRESENT = 0.1
"""Severity that a kind reaches somewhere in the picture where its map is shown."""


def lifted_shadows(before: Tensor, after: Tensor) -> float:
    """Return the mean luma of the darker half of a photo, as a multiple of the input's; pictures are [1, 3, H, W] in [0, 1].

    The darker half are the pixels whose luma (BT.601) is at most the input's median; the same pixels are taken of the result.
    """
    first, second = luma(before), luma(after)
    dark = first <= first.median()
    return float(second[dark].mean() / first[dark].mean().clamp_min(1e-3))


def dark_channel(picture: Tensor) -> float:
    """Return the mean over the picture [1, 3, H, W] of the least value of any colour within 15×15 px (He et al., CVPR 2009)."""
    return float(-F.max_pool2d(-picture.amin(1, keepdim=True), 15, 1, 7).mean())


def thinned_haze(before: Tensor, after: Tensor) -> float:
    """Return the mean dark channel of the result as a multiple of the input's; pictures are [1, 3, H, W] in [0, 1]."""
    return dark_channel(after) / max(1e-3, dark_channel(before))


EVEN_RANGE, EVEN_SHARE = 4.0, 0.01
"""A place is even where luma varies by at most so many levels of 255; a photo has even places where that share of it is."""


def _range(picture: Tensor) -> Tensor:
    """Return the range in levels of 255 of luma, averaged over 4×4 px, over distances of up to 24 px; [1, 1, h, w]."""
    coarse = F.avg_pool2d(luma(picture) * 255, 4)
    return F.max_pool2d(coarse, 7, 1) + F.max_pool2d(-coarse, 7, 1)


def added_unevenness(before: Tensor, after: Tensor) -> float | None:
    """Return the unevenness added where the photo is even, in levels of 255 (our definition); None where hardly any of it is
    even.

    Pictures are [1, 3, H, W] in [0, 1], at least 28 px on both sides. Luma is averaged over 4×4 px, so that grain does not count.
    The range (maximum − minimum) of these means over 24 px in both directions is taken at every place. Even places are those
    where the input's range is at most 4 levels. The figure is the 90th percentile, over the even places, of the result's range
    minus the input's, and at least 0. On the hazy photos with visible blotches in the sky the first generation gives 10 to 15.
    """
    first, second = _range(before), _range(after)
    even = first <= EVEN_RANGE
    if float(even.float().mean()) < EVEN_SHARE:
        return None
    return float((second - first)[even].quantile(0.9).clamp_min(0))


def _spread(field: Tensor, side: int) -> Tensor:
    """Return the standard deviation [1, 1, h, w] in blocks of ``side`` px."""
    mean = F.avg_pool2d(field, side)
    return (F.avg_pool2d(field * field, side) - mean * mean).clamp_min(0).sqrt()


CLIPPED = 0.05
"""A block whose mean luma is nearer to black or white than this is left out of the grain: clipping hides it there."""


def kept_grain(before: Tensor, after: Tensor) -> float | None:
    """Return the fine contrast left in the evenest blocks of a noisy photo, as a multiple of the input's (our definition).

    Pictures are [1, 3, H, W] in [0, 1]. Fine contrast is the standard deviation, in blocks of 16×16 px, of luma minus its 5×5
    mean. Of the blocks that are neither black nor white in the input, the evenest are the tenth in which the input's luma,
    averaged over 4×4 px, has the least standard deviation. None where all blocks are black or white.
    """

    def fine(picture: Tensor) -> Tensor:
        grey = luma(picture)
        return _spread(grey - F.avg_pool2d(grey, 5, 1, 2, count_include_pad=False), 16)

    grey = luma(before)
    usable = (F.avg_pool2d(grey, 16) - 0.5).abs() <= 0.5 - CLIPPED
    if not bool(usable.any()):
        return None
    coarse, first, second = (field[usable] for field in (_spread(F.avg_pool2d(grey, 4), 4), fine(before), fine(after)))
    even = coarse <= coarse.quantile(0.1)
    return float(second[even].mean() / first[even].mean().clamp_min(1e-5))


@dataclass(frozen=True)
class Figure:
    """This class is a figure of input and result: its target in words, the beginning of the names of the photos that it is taken
    of, how it is measured, and when the target is met.
    """

    title: str
    target: str
    photos: str
    measure: Callable[[Tensor, Tensor], float | None]
    met: Callable[[float], bool]


FIGURES = (
    Figure("lifted shadows", "at least 1.3", "dark", lifted_shadows, lambda value: value >= 1.3),
    Figure("dark channel", "at most 0.85", "haze", thinned_haze, lambda value: value <= 0.85),
    Figure("unevenness", "at most 4", "", added_unevenness, lambda value: value <= 4),
    Figure("grain kept", "at most 0.6", "noise", kept_grain, lambda value: value <= 0.6),
)


def shown(picture: Tensor) -> Tensor:
    """Return a picture [1, 3, H, W] with its longer side SIDE px long."""
    scale = SIDE / max(picture.shape[-2:])
    size = [round(side * scale) for side in picture.shape[-2:]]
    return F.interpolate(picture, size, mode="bilinear", antialias=True).clamp(0, 1)


def maps_of(quality: QualityMap) -> list[tuple[str, Tensor]]:
    """Return the name and picture [1, 3, H, W] of each map to show, of a map of one picture.

    Kinds are grey (white = severity 1), the worst first, and left out where they stay below PRESENT everywhere. The overall map
    is in the colours of the heatmap, and shown where no kinds are known.
    """
    if quality.kinds is None:
        return [("quality", heatmap(quality, legend=False))]
    found = [(kind, quality.kinds[:, i : i + 1]) for i, kind in enumerate(KINDS) if float(quality.kinds[:, i].max()) >= PRESENT]
    found.sort(key=lambda one: -float(one[1].mean()))
    size = (quality.height, quality.width)
    return [(kind, F.interpolate(field, size, mode="bilinear").expand(-1, 3, -1, -1)) for kind, field in found]


def figures_of(stem: str, before: Tensor, after: Tensor) -> dict[str, float]:
    """Return the figures of a photo by title: those of its kind, and its unevenness where it has even places."""
    found = {one.title: one.measure(before, after) for one in FIGURES if stem.startswith(one.photos)}
    return {title: value for title, value in found.items() if value is not None}


def counts(rows: list[dict]) -> str:
    """Return a Markdown table: of how many photos each figure meets its target, and where it does worst and best."""
    lines = ["| figure | target | met by | of | least | most |", "| --- | --- | --- | --- | --- | --- |"]
    for one in FIGURES:
        values = [row["figures"][one.title] for row in rows if one.title in row["figures"]]
        if values:
            met = sum(one.met(value) for value in values)
            lines.append(f"| {one.title} | {one.target} | {met} | {len(values)} | {min(values):.2f} | {max(values):.2f} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Restore every photo, print the figures, and write sheet and JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of photos whose names begin with their kind of damage")
    parser.add_argument("--model", type=Path, default=SHIPPED_RESTORER, help="restorer (default: the shipped one)")
    parser.add_argument("--assessor", type=Path, default=SHIPPED_ASSESSOR, help="assessor (default: the shipped one)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    args = parser.parse_args(argv)
    files = find_pictures(args.data)
    model, assessor = load_restorer(args.model).to(args.device), open_assessor(args.assessor, args.device)
    args.out.mkdir(parents=True, exist_ok=True)
    rows, sheet = [], []
    for path in tqdm(files, unit="photo", disable=None):
        before = read_picture(path)[:, :3]
        quality = assess(assessor, before)
        after = restored(model, before, quality)
        maps, figures = maps_of(quality), figures_of(path.stem, before, after)
        means = {name: round(float(field.mean()), 3) for name, field in maps} if quality.kinds is not None else {}
        rows.append({"name": path.stem, "quality": float(quality.mean), "kinds": means, "figures": figures})
        said = "; ".join(f"{title} {value:.2f}" for title, value in figures.items())
        names = ", ".join(name for name, _ in maps)
        title = f"{path.stem}, quality {rows[-1]['quality']:.2f}; {said}. Input, result; {names}"
        sheet.append(sheet_row(title, [shown(picture) for picture in (before, after, *(field for _, field in maps))]))
    write_sheet(sheet, args.out / f"{args.model.stem}-real.png")
    record = {"photos": rows, "model": digest(args.model), "assessor": digest(args.assessor), **surroundings(args.device)}
    (args.out / f"{args.model.stem}-real.json").write_text(json.dumps(record, indent=1))
    print(counts(rows))


if __name__ == "__main__":
    main()
