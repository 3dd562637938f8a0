"""``python -m benchmarks.assessor --corpus DIR --public DIR`` measures what an assessor is worth.

Rank correlation with the true quality on held-out photos and on the public set, the share of pictures whose kind of damage is
named, agreement with 19 kinds of corruption beside BRISQUE, damaged regions, and how much of a photo that is damaged in one
quarter would be restored. Parts without their data are left out: --corpus is that of adaqual_training.corpus, --public that of
benchmarks.public_set. The corruptions and BRISQUE need requirements-benchmarks.txt (--no-corruptions leaves them out). Tables are
printed, and the figures go to runs/benchmarks as JSON.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image
from scipy.stats import mannwhitneyu, pearsonr, spearmanr
from skimage.filters import gaussian
from torch import Tensor

from adaqual_core.damage import degrade
from adaqual_core.damage.draws import Draws
from adaqual_core.damage.fields import region_mask
from adaqual_core.grid import CELL
from adaqual_core.imageio import read_picture
from adaqual_core.kinds import KINDS
from adaqual_core.networks.runner import Runner
from adaqual_core.networks.shipped import SHIPPED_ASSESSOR
from adaqual_core.prompt import build_prompt
from adaqual_core.published.read import load_restorer
from adaqual_core.quality.assess import Assessor, assess, open_assessor
from adaqual_core.quality.reference import reference_quality
from adaqual_core.sampling.settings import RestoreSettings
from adaqual_core.sampling.windows import exact_windows
from adaqual_training.assessor import NAMED
from adaqual_training.held_out import as_picture, held_out
from adaqual_training.recipe import read_recipe
from adaqual_training.scenes import Photos

from .public_set import PHOTOS, corrupted
from .published import as_tensor, digest, surroundings

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "assessor.toml"
"""The recipe whose scenes the held-out pictures are."""

REGIONS = (("haze",), ("low",), ("rain",), ("snow",), ("noise",), ("jpeg",), ("blur",), ("haze", "rain"))
"""Damage that is looked for in a region."""

LEAST_TILES = 0.4
"""A photo that is damaged in one quarter is told well if at most this share of its tiles would be restored; 0.32 is ideal."""


def held_out_figures(net: Assessor, corpus: Path, per_group: int) -> dict:
    """Return what the map says of ``per_group`` held-out scenes of each group of damage.

    "correlation": Spearman's with the true quality, over all cells. Where kinds are named also "named": the share of the singly
    damaged pictures of true mean severity of at least NAMED in which the kind of the largest mean severity is the true one; that
    share by true kind; and "mistaken": how often one kind was taken for which other.
    """
    scores, truths = [], []
    named: dict[str, list[bool]] = defaultdict(list)
    mistaken: Counter[str] = Counter()
    for case in held_out(corpus, read_recipe(RECIPE).scenes, per_group):
        quality = assess(net, as_picture(case.scene["degraded"]))
        scores.append(quality.scores.flatten())
        truths.append(case.scene["quality"].flatten())
        true = case.scene["severity"].mean((0, 2, 3))
        if quality.kinds is not None and case.group in KINDS and float(true.max()) >= NAMED:
            kind, found = KINDS[int(true.argmax())], KINDS[int(quality.kinds.mean((0, 2, 3)).argmax())]
            named[kind].append(found == kind)
            if found != kind:
                mistaken[f"{kind} for {found}"] += 1
    figures: dict = {"correlation": float(spearmanr(torch.cat(scores), torch.cat(truths)).statistic)}
    if named:
        figures["named"] = float(np.mean([hit for group in named.values() for hit in group]))
        figures["named_by_kind"] = {kind: [sum(named[kind]), len(named[kind])] for kind in KINDS if named[kind]}
        figures["mistaken"] = dict(mistaken.most_common())
    return figures


def repeated(picture: Tensor, height: int, width: int) -> Tensor:
    """Return a picture [1, 3, h, w] mirrored and repeated to [3, height, width]."""
    picture = torch.cat((picture, picture.flip(-1)), -1)
    picture = torch.cat((picture, picture.flip(-2)), -2)
    rows, columns = -(-height // picture.shape[-2]), -(-width // picture.shape[-1])
    return picture.repeat(1, 1, rows, columns)[0, :, :height, :width].contiguous()


def quarter_mask(side: int) -> Tensor:
    """Return a mask [1, side, side] that is 1 in one quarter and 0 elsewhere."""
    mask = torch.zeros(1, side, side)
    mask[:, : side // 2, : side // 2] = 1
    return mask


def held_out_quarters(net: Assessor, corpus: Path, side: int, count: int | None = None) -> dict[str, float]:
    """Return how much of the corpus' held-out photos (the first ``count``, or all) would be restored if one quarter is damaged.

    Each is made ``side`` px wide and high and damaged by haze and noise of severity 0.7. "median": the median share of tiles;
    "few": the share of the photos that stay at LEAST_TILES.
    """
    photos, shares, run = Photos(corpus, "held"), [], Runner(load_restorer())
    for index in range(len(photos.entries))[:count]:
        one = repeated(as_picture(torch.from_numpy(photos.pixels(index).copy()).permute(2, 0, 1)[None]), side, side)
        damaged = degrade(one, ["haze", "noise"], 0.7, seed=3, mask=quarter_mask(side)).picture[None]
        plan = exact_windows(run, RestoreSettings(), build_prompt(damaged, assess(net, damaged)))
        shares.append(plan.tiles_run / plan.tiles_total)
    few = sum(share <= LEAST_TILES for share in shares) / len(shares)
    return {"photos": len(shares), "median": sorted(shares)[len(shares) // 2], "few": few}


def against_target(net: Assessor, public: Path) -> dict[str, list[float]]:
    """Return the rank and linear correlation over cells with the reference quality, for each class of the public set and over
    all.
    """
    pairs: dict[str, list] = defaultdict(list)
    for file in sorted((public / "degraded").glob("*/*.png")):
        picture, clean = read_picture(file)[:, :3], read_picture(public / "clean" / file.name)[:, :3]
        pairs[file.parent.name].append((assess(net, picture).scores.flatten(), reference_quality(picture, clean).flatten()))
    pairs["all, clean ones too"] = [pair for group in list(pairs.values()) for pair in group]
    pairs.pop("clean", None)
    found = {name: tuple(torch.cat(part).numpy() for part in zip(*group, strict=True)) for name, group in pairs.items()}
    return {name: [float(spearmanr(*pair).statistic), float(pearsonr(*pair).statistic)] for name, pair in found.items()}


def localisation(net: Assessor) -> dict[str, float]:
    """Return, by damage, the area under the ROC curve with which a cell's score tells damaged from untouched cells of one
    picture.
    """
    folder, found = Path(skimage.data.__file__).parent, {}
    for kinds in REGIONS:
        areas = []
        for number, name in enumerate(PHOTOS):
            photo = read_picture(folder / name)[0, :3]
            height, width = (side // CELL * CELL for side in photo.shape[-2:])
            mask = region_mask(height, width, Draws(number, "region"))
            damaged = degrade(photo[:, :height, :width], kinds, 0.7, seed=number, mask=mask).picture[None]
            scores = assess(net, damaged).scores[0, 0]
            share = torch.nn.functional.avg_pool2d(mask[None], CELL)[0, 0]
            good, bad = scores[share < 0.1].numpy(), scores[share > 0.9].numpy()
            if len(good) and len(bad):
                areas.append(mannwhitneyu(good, bad).statistic / (len(good) * len(bad)))
        found["+".join(kinds)] = float(np.mean(areas))
    return found


def _old_gaussian(image: np.ndarray, sigma: float, multichannel: bool = False, **settings) -> np.ndarray:
    """Call scikit-image's Gaussian filter as it was called up to version 0.18, for which imagecorruptions was written."""
    return gaussian(image, sigma, channel_axis=-1 if multichannel else None, **settings)


def corruption_names() -> list[str]:
    """Return all kinds of the package imagecorruptions, which is imported and made to work with today's scikit-image here."""
    np.float_ = np.float64  # the package was written for NumPy 1
    import imagecorruptions.corruptions

    imagecorruptions.corruptions.gaussian = _old_gaussian
    return imagecorruptions.get_corruption_names("all")


def brisque_score() -> Callable[[np.ndarray], float]:
    """Return the function of the package brisque that gives the BRISQUE of a picture uint8 [H, W, 3], 0 for the best."""
    from brisque import BRISQUE

    class Scorer(BRISQUE):
        def scale_features(self, features):  # the package predates NumPy 2.4: some features are arrays of one
            return super().scale_features([float(np.ravel(feature)[0]) for feature in features])

    return Scorer(url=False).score


def against_levels(net: Assessor, other: Callable[[np.ndarray], float]) -> dict[str, list[float]]:
    """Return, for every kind of imagecorruptions and over all, two rank correlations with the level 0 to 5: of −(mean quality),
    and of ``other``, a function that scores uint8 [H, W, 3] (0 best). Five photos of 256×256 px are used.
    """
    folder = Path(skimage.data.__file__).parent
    photos = [np.asarray(Image.open(folder / name).convert("RGB"))[20:276, 60:316] for name in PHOTOS]
    rows: dict[str, list[tuple[int, float, float]]] = {}
    for kind in corruption_names():
        rows[kind.replace("_", " ")] = found = []
        for number, photo in enumerate(photos):
            for level in range(6):
                np.random.seed(100 * number + level)
                damaged = photo if level == 0 else corrupted(photo, kind, level)
                found.append((level, -float(assess(net, as_tensor(damaged)).mean), other(damaged)))
    rows["all kinds"] = [row for group in list(rows.values()) for row in group]
    split = {kind: tuple(zip(*found, strict=True)) for kind, found in rows.items()}
    return {
        kind: [float(spearmanr(levels, ours).statistic), float(spearmanr(levels, theirs).statistic)]
        for kind, (levels, ours, theirs) in split.items()
    }


def above(levels: dict[str, list[float]]) -> int:
    """Return the number of kinds of corruption on which the assessor's correlation is above BRISQUE's."""
    return sum(ours > theirs for kind, (ours, theirs) in levels.items() if kind != "all kinds")


def lines(title: str, head: Sequence[str], rows: dict[str, list[float]]) -> list[str]:
    """Return a table in Markdown under a title."""
    cells = [" | ".join(f"{value:.3f}" for value in values) for values in rows.values()]
    body = [f"| {name} | {row} |" for name, row in zip(rows, cells, strict=True)]
    return ["", title, "", "| " + " | ".join(head) + " |", "| --- " * len(head) + "|", *body]


def described(found: dict) -> list[str]:
    """Return the figures of :func:`main`'s JSON as tables and sentences in Markdown."""
    text: list[str] = []
    if "held_out" in found:
        held = found["held_out"]
        text += ["", f"Held-out photos: rank correlation with the true quality over all cells {held['correlation']:.3f}."]
        if "named" in held:
            kinds = ", ".join(f"{kind} {hits} of {count}" for kind, (hits, count) in held["named_by_kind"].items())
            wrong = ", ".join(f"{name} ({count})" for name, count in held["mistaken"].items()) or "none"
            text += [f"The kind is named in {100 * held['named']:.1f} % of the singly damaged ones of severity {NAMED} and more:"]
            text += [f"{kinds}. Mistaken: {wrong}."]
    if "quarters" in found:
        one = found["quarters"]
        text += ["", f"Of {one['photos']} held-out photos damaged in one quarter, {100 * one['few']:.0f} % have at most"]
        text += [f"{100 * LEAST_TILES:.0f} % of their tiles restored; the median is {100 * one['median']:.0f} % (ideal: 32 %)."]
    if "public" in found:
        text += lines(
            "Correlation over cells with the full-reference target (adaqual_core/quality/reference.py):",
            ("class", "Spearman", "Pearson"),
            found["public"],
        )
    if "levels" in found:
        text += lines(
            "Spearman correlation of a picture's mean score with the corruption level 0 to 5, five photos of 256×256:",
            ("kind", "AdaQual", "BRISQUE"),
            found["levels"],
        )
        text += ["", f"Above BRISQUE on {above(found['levels'])} of {len(found['levels']) - 1} kinds."]
    title = "Telling damaged from untouched cells (random region, severity 0.7, our degradations):"
    areas = {name: [area] for name, area in found["regions"].items()}
    return [*text, *lines(title, ("damage in a region", "AUC"), areas)]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print tables, and write JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.assessor", description=__doc__)
    parser.add_argument("--assessor", type=Path, default=SHIPPED_ASSESSOR, help="assessor (default: the shipped one)")
    parser.add_argument("--corpus", type=Path, help="folder of adaqual_training.corpus, for the held-out photos")
    parser.add_argument("--public", type=Path, help="folder of benchmarks.public_set")
    parser.add_argument("--no-corruptions", action="store_true", help="leave out the kinds of corruption and BRISQUE")
    parser.add_argument("--per-group", type=int, default=12, help="held-out scenes per group of damage (default 12)")
    parser.add_argument("--photos", type=int, help="damage one quarter of only so many held-out photos (default: all)")
    parser.add_argument("--side", type=int, default=1024, help="side in px of photos damaged in a quarter (default 1024)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    args = parser.parse_args(argv)
    net, found = open_assessor(args.assessor, args.device), {}
    if args.corpus is not None:
        found["held_out"] = held_out_figures(net, args.corpus, args.per_group)
        found["quarters"] = held_out_quarters(net, args.corpus, args.side, args.photos)
    if args.public is not None:
        found["public"] = against_target(net, args.public)
    if not args.no_corruptions:
        found["levels"] = against_levels(net, brisque_score())
    found["regions"] = localisation(net)
    record = found | {"assessor": digest(args.assessor), **surroundings(args.device)}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{args.assessor.stem}-assessor.json").write_text(json.dumps(record, indent=1))
    print("\n".join(described(found)))


if __name__ == "__main__":
    main()
