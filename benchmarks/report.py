"""``python -m benchmarks.report NAME=DIR …`` writes docs/evaluation.md and its sheets from the results of one network or several.

Every folder holds what ``benchmarks.public``, ``benchmarks.assessor`` and others left there (--out); columns are named by NAME.
Details and sheets are those of the last one. Nothing is measured here.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from . import assessor, targets
from .public import CLEAN, OURS, SHEETS

HEAD = """\
# Evaluation

Made by `python -m benchmarks.report` from what the commands in the last column measured. The public set is scikit-image's photos,
damaged by albumentations and imagecorruptions (`python -m benchmarks.public_set`); neither these photos nor this code was used
in training. The published sets are described in [benchmarks.md](benchmarks.md). LPIPS is not given: no package carries the
weights of its backbones.

## What is asked for, and what is reached

Bold: as asked for, or better.
"""

RESTORATION = """\
## Restoration of the public set

AdaQual: two steps, preservation at 4.5. Then the classical methods (benchmarks/classical.py), every one on every class. The best
of a row is bold.
"""


def _row(name: str, means: dict[str, float], places: int) -> str:
    best = max(means.values())
    cells = [f"**{mean:+.{places}f}**" if mean == best else f"{mean:+.{places}f}" for mean in means.values()]
    return f"| {name} | " + " | ".join(cells) + " |"


def restoration(columns: dict[str, targets.Results]) -> list[str]:
    """Return tables of the gains per class of the public set: ours of every column, the classical methods, and variants of the
    last.
    """
    last = list(columns.values())[-1]["public"]["classes"]
    groups = {name: rows for name, rows in last.items() if name != CLEAN}
    ways = next(iter(groups.values()))[0]["gains"]
    methods = [way for way in ways if way not in targets.VARIANTS]
    variants = [way for way in ways if way in targets.VARIANTS]
    lines = []
    for title, which, places in (("PSNR, dB", 0, 2), ("SSIM", 1, 3)):

        def means(rows: list[dict], names: list[str], which: int = which) -> dict[str, float]:
            return {name: sum(row["gains"][name][which] for row in rows) / len(rows) for name in names}

        heads = [*(f"{OURS}, {name}" for name in columns), *methods]
        lines += [f"Gain in {title}:", "", "| class | " + " | ".join(heads) + " |", "| --- " * (1 + len(heads)) + "|"]
        for group, rows in groups.items():
            ours = {
                name: means(one["public"]["classes"][group], [OURS])[OURS] for name, one in columns.items() if "public" in one
            }
            lines.append(_row(f"{group} ({len(rows)})", ours | means(rows, methods), places))
        name = list(columns)[-1]
        lines += ["", f"The same for variants of {name}: other numbers of steps, and without preservation.", ""]
        lines += ["| class | " + " | ".join(variants) + " |", "| --- " * (1 + len(variants)) + "|"]
        lines += [_row(f"{group} ({len(rows)})", means(rows, variants), places) for group, rows in groups.items()]
        lines.append("")
    return lines


def sheets(results: targets.Results, folder: Path, out: Path) -> list[str]:
    """Copy the sheets of a folder of results beside the page, and return the lines that show them."""
    lines = ["Damaged, quality map, restored, original; above the picture of middle gain, below the one of least:", ""]
    (out / SHEETS).mkdir(parents=True, exist_ok=True)
    for group, said in results["public"]["shown"].items():
        shutil.copyfile(folder / SHEETS / f"{group}.jpg", out / SHEETS / f"{group}.jpg")
        lines += [f"{group}: {said[0]}; {said[1]}", "", f"![{group}]({SHEETS}/{group}.jpg)", ""]
    return lines


def costs(results: targets.Results) -> list[str]:
    """Return a table of what both networks cost."""
    lines = ["| network | parameters | GMAC at 512² | seconds |", "| --- | --- | --- | --- |"]
    rows = results["public"]["costs"].items()
    return lines + [f"| {name} | {round(count):,} | {gmac:.1f} | {seconds:.2f} |" for name, (count, gmac, seconds) in rows]


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="NAME=DIR", help="a title, and a folder of results")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    args = parser.parse_args(argv)
    try:
        columns = targets.read_columns(args.runs)
    except ValueError as problem:
        sys.exit(str(problem))
    name, last = list(columns.items())[-1]
    if "public" not in last:
        parser.error(f"{args.runs[-1]}: no results of benchmarks.public; measure them first")
    lines = [HEAD, targets.table(columns), "", RESTORATION, *restoration(columns)]
    lines += [*sheets(last, Path(args.runs[-1].partition("=")[2]), args.out), "## Cost", "", *costs(last), ""]
    for title, results in columns.items():
        if "assessor" in results:
            lines += [f"## The assessor, {title}", *assessor.described(results["assessor"]), ""]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "evaluation.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
