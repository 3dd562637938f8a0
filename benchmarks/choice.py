"""``python -m benchmarks.choice --corpus DIR`` measures whether striking out one kind of damage keeps it, and removes the other
kind.

Sixty crops of the corpus' held-out photos are damaged by two kinds. Each is restored in the product's own way (estimated map,
factors, prompt, two steps): once with both kinds removed, and once with either kind struck out. The truth is known, because the
generator also composes the picture that keeps one kind alone, from the same draws.

Our definitions. Let x be the clean picture, y the damaged one, and t the picture with the struck-out kind A alone: then t − x is
the change that A makes, and y − t the change that the other kind B makes on top. A result r is described by the least-squares fit
r − x ≈ a·(t − x) + b·(y − t) over all pixels and colours.

- **kept** is a: the strength of A in the result as a multiple of its true strength. It is the ratio of severities for darkness,
  haze, rain and snow, whose severity is proportional to the change; for noise and blur, whose severity is the square root of the
  change, the ratio of severities is nearer to 1.
- **removed** is 1 − b: the share of B that is gone.
- A choice is **met** where kept is within 20 % of 1, and at least 80 % as much of B is removed as in the result with both kinds
  removed. Where removing both removes nothing of B, the choice is not met: there is nothing that it could leave undisturbed.

Beside these stand gains in PSNR, which also count what neither change explains, such as lost detail: of the choice against t, and
of removing both against x; and kept as the assessor reads it: the mean severity of A that it sees in r, divided by that in t.
Results and a sheet of the worst choices go to runs/benchmarks.
"""

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from adaqual_core.evaluate import psnr
from adaqual_core.kinds import KINDS
from adaqual_core.networks.shipped import SHIPPED_ASSESSOR, SHIPPED_RESTORER
from adaqual_core.prompt import PromptSettings
from adaqual_core.published.read import load_restorer
from adaqual_core.quality.assess import assess, open_assessor
from adaqual_core.quality.estimator import QualityEstimator
from adaqual_training.held_out import as_picture, mean
from adaqual_training.recipe import read_recipe
from adaqual_training.scenes import CAMERA, WEATHER, Photos, SceneSettings, composed, random_crop

from .published import digest, restored, sheet_row, surroundings, write_sheet

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "nano.toml"
"""The recipe whose scenes give the crops their size."""

PAIRS = (*(kinds for kinds in (*WEATHER, *CAMERA) if len(kinds) == 2), ("haze", "noise"))
"""The pairs of kinds that the pictures take in turn: all pairs that training composes, and haze with noise."""

LOWEST, HIGHEST = 0.3, 0.8
"""Range of the severity that is asked of each kind. Of less, neither removing nor keeping can be told from noise."""

SHARE, TOLERANCE = 0.8, 0.2
"""The least share of the removal of both, and the largest change of the strength of what is kept, of a choice that is met."""

SHOWN = 8
"""Number of the worst choices on the sheet."""


@dataclass(frozen=True)
class Doubled:
    """This class is a picture with two kinds of damage, [1, 3, H, W] in [0, 1] at 8 bits: ``clean``, ``degraded`` by both, and
    ``alone`` by each kind of ``kinds`` alone, in their order.
    """

    kinds: tuple[str, str]
    clean: Tensor
    degraded: Tensor
    alone: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Choice:
    """This class holds what striking out one kind of one picture gave; the module's text defines the figures."""

    picture: int
    kept_kind: str
    removed_kind: str
    kept: float
    removed: float
    removed_by_both: float
    gain: float
    gain_of_both: float
    kept_as_read: float

    @property
    def keeps(self) -> bool:
        """Return whether the kind that was struck out is as strong as it was, within TOLERANCE."""
        return abs(self.kept - 1) <= TOLERANCE

    @property
    def removes(self) -> bool:
        """Return whether the other kind is removed as far as SHARE of what removing both does, which must be something."""
        return self.removed_by_both > 0 and self.removed >= SHARE * self.removed_by_both

    @property
    def met(self) -> bool:
        """Return whether the one kind is kept and the other removed."""
        return self.keeps and self.removes

    @property
    def shortfall(self) -> float:
        """Return how far the result is from what is asked of it: by the strength of what is kept, or by the share that is
        removed.
        """
        return max(abs(self.kept - 1) - TOLERANCE, SHARE * self.removed_by_both - self.removed)


def doubled(photos: Photos, settings: SceneSettings, number: int) -> Doubled:
    """Return picture ``number`` of the set, the same at every call."""
    rng, kinds = random.Random(f"choice/{number}"), PAIRS[number % len(PAIRS)]
    clean = random_crop(photos.pixels(photos.draw(kinds, rng)), settings, rng)
    asked = {kind: rng.uniform(LOWEST, HIGHEST) for kind in kinds}
    seed = rng.getrandbits(32)
    scenes = [composed(clean, asked, seed, uneven=False, behind_camera=False, kept=frozenset({kind})) for kind in kinds]
    first, second = (as_picture(scene["target"])[None] for scene in scenes)
    rounded = (clean[None] * 255).round() / 255
    return Doubled(kinds, rounded, as_picture(scenes[0]["degraded"])[None], (first, second))


def strengths(result: Tensor, clean: Tensor, first: Tensor, degraded: Tensor) -> tuple[float, float]:
    """Return how strong each of two kinds of damage is in ``result``, as multiples of their true strengths (least squares).

    ``first`` holds the first kind alone, ``degraded`` both; all are [1, 3, H, W].
    """
    changes = torch.stack(((first - clean).flatten(), (degraded - first).flatten()), 1).double()
    found = torch.linalg.lstsq(changes, (result - clean).flatten()[:, None].double()).solution
    return float(found[0]), float(found[1])


def read_severity(assessor: QualityEstimator, picture: Tensor, kind: str) -> float:
    """Return the mean severity of a kind that the assessor sees in a picture [1, 3, H, W]."""
    kinds = assess(assessor, picture).kinds
    assert kinds is not None
    return float(kinds[:, KINDS.index(kind)].mean())


def choices(
    model: torch.nn.Module, assessor: QualityEstimator, number: int, one: Doubled
) -> Iterator[tuple[Choice, tuple[Tensor, Tensor, Tensor]]]:
    """Yield the two choices that a picture offers, each with the pictures to show: input, result, and what it should be."""
    quality = assess(assessor, one.degraded)
    both = restored(model, one.degraded, quality)
    gain_of_both = float(psnr(both, one.clean) - psnr(one.degraded, one.clean))
    for kept, removed, target in zip(one.kinds, reversed(one.kinds), one.alone, strict=True):
        factors = tuple(float(kind != kept) for kind in KINDS)
        result = restored(model, one.degraded, quality, PromptSettings(factors=factors))
        strength, left = strengths(result, one.clean, target, one.degraded)
        _, left_by_both = strengths(both, one.clean, target, one.degraded)
        choice = Choice(
            picture=number,
            kept_kind=kept,
            removed_kind=removed,
            kept=strength,
            removed=1 - left,
            removed_by_both=1 - left_by_both,
            gain=float(psnr(result, target) - psnr(one.degraded, target)),
            gain_of_both=gain_of_both,
            kept_as_read=read_severity(assessor, result, kept) / max(1e-3, read_severity(assessor, target, kept)),
        )
        yield choice, (one.degraded, result, target)


def table(rows: list[Choice]) -> str:
    """Return a Markdown table by the kind that was struck out, and over all."""
    lines = [
        "| struck out | choices | kept | within 20 % | other removed | by removing both | at least 80 % of it | met "
        "| gain, dB | of removing both | kept, as read |",
        "| --- " * 11 + "|",
    ]
    groups = {kind: [row for row in rows if row.kept_kind == kind] for kind in KINDS} | {"**all**": rows}
    for name, group in groups.items():
        if group:
            met = [float(row.met) for row in group]
            lines.append(
                f"| {name} | {len(group)} | {mean([row.kept for row in group]):.2f} "
                f"| {100 * mean([float(row.keeps) for row in group]):.0f} % | {mean([row.removed for row in group]):.2f} "
                f"| {mean([row.removed_by_both for row in group]):.2f} "
                f"| {100 * mean([float(row.removes) for row in group]):.0f} % | {100 * mean(met):.0f} % "
                f"| {mean([row.gain for row in group]):+.2f} | {mean([row.gain_of_both for row in group]):+.2f} "
                f"| {mean([row.kept_as_read for row in group]):.2f} |"
            )
    return "\n".join(lines)


def described(row: Choice) -> str:
    """Return one choice in words."""
    return (
        f"picture {row.picture}: {row.kept_kind} struck out, kept {row.kept:.2f}; {row.removed_kind} removed "
        f"{row.removed:.2f}, by removing both {row.removed_by_both:.2f}; {row.gain:+.2f} dB"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measure all choices, print table and worst cases, and write JSON and sheet."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.choice", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, default=Path("runs/corpus"), help="folder of adaqual_training.corpus")
    parser.add_argument("--model", type=Path, default=SHIPPED_RESTORER, help="restorer (default: the shipped one)")
    parser.add_argument("--assessor", type=Path, default=SHIPPED_ASSESSOR, help="assessor (default: the shipped one)")
    parser.add_argument("--pictures", type=int, default=60, help="number of pictures; each offers two choices (default 60)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    args = parser.parse_args(argv)
    model, assessor = load_restorer(args.model).to(args.device), open_assessor(args.assessor, args.device)
    if not isinstance(assessor, QualityEstimator):
        parser.error(f"--assessor: {args.assessor} names no kinds of damage, so none can be struck out; give one that does")
    photos, settings = Photos(args.corpus, "held"), read_recipe(RECIPE).scenes
    rows, worst = [], []
    for number in tqdm(range(args.pictures), unit="picture", disable=None):
        for row, shown in choices(model, assessor, number, doubled(photos, settings, number)):
            rows.append(row)
            worst = sorted([*worst, (row, shown)], key=lambda one: -one[0].shortfall)[:SHOWN]
    args.out.mkdir(parents=True, exist_ok=True)
    write_sheet(
        [sheet_row(f"{described(row)}. Input, result, target", pictures) for row, pictures in worst],
        args.out / f"{args.model.stem}-choice.png",
    )
    record = {"choices": [asdict(row) | {"met": row.met} for row in rows]}
    record |= {"model": digest(args.model), "assessor": digest(args.assessor), **surroundings(args.device)}
    (args.out / f"{args.model.stem}-choice.json").write_text(json.dumps(record, indent=1))
    by_psnr = mean([float(row.gain >= SHARE * row.gain_of_both) for row in rows])
    print(f"{table(rows)}\n\nGain against the own target at least 80 % of that of removing both: {100 * by_psnr:.0f} %. Worst:\n")
    print("\n".join(f"- {described(row)}" for row, _ in worst))


if __name__ == "__main__":
    main()
