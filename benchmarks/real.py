"""``python -m benchmarks.real --data DIR``: real damaged photos, for which no truth exists: a sheet to look at, and four
figures.

The sheet shows, for every photo, the input, the result, and the map of each kind of damage that is present (or the overall map
where the assessor names no kinds). The figures compare input and result; none of them says that a picture looks good.
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from adaqual_core.imageio import find_pictures, read_picture, write_picture
from adaqual_core.kinds import KINDS
from adaqual_core.networks.shipped import SHIPPED_ASSESSOR, SHIPPED_DENOISER
from adaqual_core.published.read import load_restorer
from adaqual_core.quality.assess import assess, open_assessor
from adaqual_core.quality.heatmap import heatmap
from adaqual_core.quality.map import QualityMap
from adaqual_core.sampling.tone import luma

from .published import restored

SIDE = 240
"""Longer side in px of a picture on the sheet."""

SHOWN = 0.1
"""Mean severity from which on a kind's map is shown."""


def lifted_shadows(before: Tensor, after: Tensor) -> float:
    """Mean luma of the pixels that are darker than the input's median, as a multiple of the input's; [1, 3, H, W] in [0, 1]."""
    first, second = luma(before), luma(after)
    dark = first <= first.median()
    return float(second[dark].mean() / first[dark].mean().clamp_min(1e-3))


def dark_channel(picture: Tensor) -> float:
    """Mean over the picture of the least colour within 15×15 px (He et al., CVPR 2009)."""
    return float(-F.max_pool2d(-picture.amin(1, keepdim=True), 15, 1, 7).mean())


def thinned_haze(before: Tensor, after: Tensor) -> float:
    """Mean dark channel of the result as a multiple of the input's."""
    return dark_channel(after) / max(1e-3, dark_channel(before))


def _spread(field: Tensor, side: int) -> Tensor:
    """Standard deviation [1, 1, h, w] in blocks of ``side`` px."""
    mean = F.avg_pool2d(field, side)
    return (F.avg_pool2d(field * field, side) - mean * mean).clamp_min(0).sqrt()


def added_unevenness(before: Tensor, after: Tensor) -> float:
    """How much less even the result is where the input is even, in levels of 255.

    Luma is averaged over 4×4 px, and its standard deviation taken in blocks of 24 px. Of the tenth of the blocks that are
    evenest in the input, the 90th percentile of the increase counts.
    """
    first, second = (_spread(F.avg_pool2d(luma(picture), 4), 6).flatten() for picture in (before, after))
    even = first <= first.quantile(0.1)
    return float(255 * (second - first)[even].clamp_min(0).quantile(0.9))


def kept_grain(before: Tensor, after: Tensor) -> float:
    """Fine contrast of the result as a multiple of the input's, in the tenth of the 16 px blocks that are evenest in the input.

    Fine contrast is the standard deviation of the difference between luma and its 5×5 mean.
    """

    def fine(picture: Tensor) -> Tensor:
        grey = luma(picture)
        return _spread(grey - F.avg_pool2d(grey, 5, 1, 2, count_include_pad=False), 16).flatten()

    coarse = _spread(F.avg_pool2d(luma(before), 4), 4).flatten()
    first, second = fine(before), fine(after)
    even = coarse <= coarse.quantile(0.1)
    return float(second[even].mean() / first[even].mean().clamp_min(1e-5))


MEASURES = {
    "dark": ("lifted shadows", lifted_shadows, lambda value: value >= 1.3),
    "haze": ("dark channel", thinned_haze, lambda value: value <= 0.85),
    "noise": ("grain kept", kept_grain, lambda value: value <= 0.6),
}
"""Beginning of a file's name → figure, function, and whether its target is met."""

EVEN = 4.0
"""Most levels of unevenness that may be added anywhere."""


def shown(picture: Tensor) -> Tensor:
    """A picture made at most SIDE px large and padded to a square of SIDE px."""
    scale = SIDE / max(picture.shape[-2:])
    small = F.interpolate(picture, scale_factor=scale, mode="bilinear", antialias=True).clamp(0, 1)
    return F.pad(small, (0, SIDE - small.shape[-1], 0, SIDE - small.shape[-2]))


def maps_of(quality: QualityMap) -> list[tuple[str, Tensor]]:
    """Name and grey picture [1, 3, H, W] of each map to show: the kinds that are present, or the overall map."""
    height, width = quality.height, quality.width
    if quality.kinds is None:
        return [("quality", heatmap(quality))]
    present = [(kind, quality.kinds[:, i : i + 1]) for i, kind in enumerate(KINDS) if float(quality.kinds[:, i].mean()) >= SHOWN]
    return [(kind, F.interpolate(field, (height, width), mode="bilinear").expand(-1, 3, -1, -1)) for kind, field in present]


def main() -> None:
    """Restore every photo, print the figures, and write the sheet."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of photos whose names begin with their kind of damage")
    parser.add_argument("--model", type=Path, default=SHIPPED_DENOISER, help="restorer (default: the shipped one)")
    parser.add_argument("--assessor", type=Path, default=SHIPPED_ASSESSOR, help="assessor (default: the shipped one)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    args = parser.parse_args()
    model, assessor = load_restorer(args.model).to(args.device), open_assessor(args.assessor, args.device)
    args.out.mkdir(parents=True, exist_ok=True)
    rows, sheet, met = [], [], {}
    for path in tqdm(find_pictures(args.data), unit="photo", disable=None):
        before = read_picture(path)[:, :3]
        quality = assess(assessor, before)
        after = restored(model, before, quality)
        kind = path.stem.partition("_")[0]
        row = {
            "name": path.stem,
            "quality": round(float(quality.mean), 2),
            "unevenness": round(added_unevenness(before, after), 2),
        }
        met.setdefault("unevenness", []).append(row["unevenness"] <= EVEN)
        if kind in MEASURES:
            title, measure, good = MEASURES[kind]
            row[title] = round(measure(before, after), 3)
            met.setdefault(title, []).append(bool(good(row[title])))
        maps = maps_of(quality)
        row["kinds"] = [name for name, _ in maps]
        rows.append(row)
        print(json.dumps(row), flush=True)
        cells = [shown(before), shown(after), *(shown(field) for _, field in maps[:3])]
        sheet.append(torch.cat([*cells, *[torch.zeros(1, 3, SIDE, SIDE)] * (5 - len(cells))], 3))
    half = -(-len(sheet) // 2)
    columns = [torch.cat(part, 2) for part in (sheet[:half], sheet[half:])]
    columns[1] = F.pad(columns[1], (0, 0, 0, columns[0].shape[-2] - columns[1].shape[-2]))
    write_picture(torch.cat(columns, 3), args.out / f"{args.model.stem}-real.png")
    for title, values in met.items():
        print(f"{title}: met by {sum(values)} of {len(values)}")
    (args.out / f"{args.model.stem}-real.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
