"""``python -m benchmarks.targets NAME=DIR …`` tabulates what a restorer and its assessor are asked to reach, and what they
reached.

Every folder holds the JSON files of one restorer and one assessor, as the commands beside the figures left them there (--out);
columns are named by NAME. What was not measured is a dash, and nothing is measured here.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .assessor import above
from .public import CLEAN, OURS
from .published import SETS, WORSE, stem_of
from .real import FIGURES

Results = dict[str, dict]
"""What was measured of one restorer and one assessor, by the ends of the files' names: "public", "real", "rain100l" and so on.

"public" also holds its rows by "classes", the undamaged pictures among them."""

KINDS_OF_RESULTS = (*map(stem_of, SETS), "public", "real", "choice", "assessor", "promises")


def read_results(folder: Path) -> Results:
    """Return the results in a folder. Raises ValueError where it is empty or holds those of several networks."""
    found: Results = {}
    for kind in KINDS_OF_RESULTS:
        paths = sorted(folder.glob(f"*-{kind}.json"))
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            raise ValueError(f"{folder}: results of several networks ({names}); measure each with an --out of its own")
        if paths:
            found[kind] = json.loads(paths[0].read_text())
    for row in found.get("public", {}).get("pictures", []):
        found["public"].setdefault("classes", {}).setdefault(row["class"], []).append(row)
    if (folder / "peers.json").is_file():
        found["peers"] = json.loads((folder / "peers.json").read_text())
    if not found:
        raise ValueError(f"{folder}: holds no results; the table of targets names the commands that measure")
    return found


def gains_of(results: Results) -> list[float]:
    """Return the gain in dB of every damaged picture of all published sets and of the public set, as far as they were
    measured.
    """
    rows = [row for name in SETS for row in results.get(stem_of(name), {}).get("pictures", [])]
    gains = [row["psnr_estimated"] - row["psnr_input"] for row in rows]
    public = results.get("public", {}).get("pictures", [])
    return gains + [row["gains"][OURS][0] for row in public if row["class"] != CLEAN]


def mean_gain(results: Results, group: str, way: str) -> float:
    """Return the mean gain in dB of one way of restoring over a class of the public set."""
    return float(np.mean([row["gains"][way][0] for row in results["public"]["classes"][group]]))


VARIANTS = (OURS, "1 step", "4 steps", "everywhere", "no finish")
"""Ways of restoring that are ours; all others in the results are classical methods. "no finish" stands in results of the first
generation."""


def best_classical(results: Results, group: str) -> tuple[float, str]:
    """Return the largest mean gain of a classical method over a class of the public set, and the method's name."""
    ways = results["public"]["classes"][group][0]["gains"]
    return max((mean_gain(results, group, way), way) for way in ways if way not in VARIANTS)


def met_by(results: Results, title: str) -> float:
    """Return the share of real photos that meet a figure of benchmarks.real."""
    figure = next(one for one in FIGURES if one.title == title)
    values = [row["figures"][title] for row in results["real"]["photos"] if title in row["figures"]]
    return float(np.mean([figure.met(value) for value in values]))


def slowest_margin(results: Results) -> float:
    """Return our seconds per megapixel, as a multiple of those of the fastest other network in the same run."""
    rows = results["peers"]["rows"]
    ours = [row["seconds_per_megapixel"] for row in rows if row["name"].startswith("ours")]
    return max(ours) / min(row["seconds_per_megapixel"] for row in rows if not row["name"].startswith("ours"))


SECONDS = "seconds 1024², 2 steps, map included"


def most_seam(results: Results) -> float:
    """Return the largest difference between a picture restored in tiles and the same restored whole, × 255."""
    return max(value for key, value in results["promises"].items() if key.startswith("tile "))


def _holds(results: Results, need: str) -> bool:
    part: dict = results
    for name in need.split("/"):
        if name not in part:
            return False
        part = part[name]
    return True


@dataclass(frozen=True)
class Target:
    """This class is a figure that is asked for.

    ``needs``: the results that it is computed from, or parts of them ("assessor/levels"). ``least``: whether ``asked`` is the
    least value, otherwise the largest.
    ``form``: how values are written. ``command``: the benchmark that measures it.
    """

    title: str
    needs: tuple[str, ...]
    figure: Callable[[Results], float]
    asked: float
    form: str
    command: str
    least: bool = True

    def value(self, results: Results) -> float | None:
        """Return the figure, or None where it was not measured."""
        return self.figure(results) if all(_holds(results, need) for need in self.needs) else None

    def met(self, value: float) -> bool:
        """Return whether a value is what is asked for, or better."""
        return value >= self.asked if self.least else value <= self.asked


def _set(name: str, asked: float) -> Target:
    stem = stem_of(name)
    return Target(f"{name}, PSNR", (stem,), lambda found: found[stem]["psnr_estimated"], asked, "{:.2f}", "published")


def _class(group: str, asked: float) -> tuple[Target, Target]:
    needs = (f"public/classes/{group}",)
    return (
        Target(f"public set, {group}: gain", needs, lambda found: mean_gain(found, group, OURS), asked, "{:+.2f}", "public"),
        Target(
            f"public set, {group}: above the best classical method",
            needs,
            lambda found: mean_gain(found, group, OURS) - best_classical(found, group)[0],
            0,
            "{:+.2f}",
            "public",
        ),
    )


def _real(title: str, asked: float) -> Target:
    return Target(f"real photos: {title}, share that meets it", ("real",), lambda r: met_by(r, title), asked, "{:.0%}", "real")


def _chosen(title: str, judge: Callable[[dict], bool]) -> Target:
    def share(found: Results) -> float:
        return float(np.mean([judge(row) for row in found["choice"]["choices"]]))

    return Target(f"choice: {title}", ("choice",), share, 1, "{:.0%}", "choice")


TARGETS: tuple[Target, ...] = (
    *(_set(name, asked) for name, asked in (("CBSD68 15", 31.2), ("CBSD68 25", 29.0), ("CBSD68 50", 26.0), ("Rain100L", 30.0))),
    *(_set(name, asked) for name, asked in (("LIVE1 10", 26.8), ("LIVE1 20", 29.0), ("LIVE1 40", 31.0))),
    Target(
        "SOTS-indoor, gain",
        ("sots-indoor",),
        lambda found: found["sots-indoor"]["psnr_estimated"] - found["sots-indoor"]["psnr_input"],
        4,
        "{:+.2f}",
        "published",
    ),
    Target(
        "all sets: worst picture, dB",
        (*map(stem_of, SETS), "public"),
        lambda found: min(gains_of(found)),
        -1,
        "{:+.2f}",
        "published, public",
    ),
    Target(
        f"all sets: share more than {WORSE} dB below the input",
        (*map(stem_of, SETS), "public"),
        lambda found: float(np.mean([gain < -WORSE for gain in gains_of(found)])),
        0.03,
        "{:.1%}",
        "published, public",
        least=False,
    ),
    Target(
        "clean pictures: least PSNR beside themselves",
        (f"public/classes/{CLEAN}",),
        lambda found: min(row["psnr_input"] + row["gains"][OURS][0] for row in found["public"]["classes"][CLEAN]),
        45,
        "{:.1f}",
        "public",
    ),
    *_class("haze", 4),
    *_class("low", 8),
    *_class("rain", 3.5),
    *_class("snow", 3.5),
    *_class("noise-jpeg", 3.8),
    *_class("composition", 3),
    *_class("blur", 0.5),
    _real("lifted shadows", 0.8),
    _real("dark channel", 0.85),
    _real("unevenness", 1),
    _real("grain kept", 0.8),
    Target(
        "held-out photos: rank correlation with true quality",
        ("assessor/held_out",),
        lambda found: found["assessor"]["held_out"]["correlation"],
        0.9,
        "{:.3f}",
        "assessor",
    ),
    Target(
        "19 kinds of corruption: rank correlation with the level",
        ("assessor/levels",),
        lambda found: found["assessor"]["levels"]["all kinds"][0],
        0.7,
        "{:.3f}",
        "assessor",
    ),
    Target(
        "19 kinds of corruption: above BRISQUE on",
        ("assessor/levels",),
        lambda found: above(found["assessor"]["levels"]),
        14,
        "{:.0f}",
        "assessor",
    ),
    Target(
        "held-out photos: the kind is named",
        ("assessor/held_out/named",),
        lambda found: found["assessor"]["held_out"]["named"],
        0.9,
        "{:.1%}",
        "assessor",
    ),
    Target(
        "photos damaged in a quarter: at most 40 % of the tiles",
        ("assessor/quarters",),
        lambda found: found["assessor"]["quarters"]["few"],
        0.85,
        "{:.0%}",
        "assessor",
    ),
    _chosen("the struck-out kind stays within 20 %", lambda row: abs(row["kept"] - 1) <= 0.2),
    _chosen("and at least 80 % as much of the other goes as without choice", lambda row: row["met"]),
    Target(
        "public set: gain of two steps over one",
        ("public",),
        lambda r: float(
            np.mean(
                [row["gains"][OURS][0] - row["gains"]["1 step"][0] for row in r["public"]["pictures"] if row["class"] != CLEAN]
            )
        ),
        0,
        "{:+.3f}",
        "public",
    ),
    Target("tiles against whole, × 255", ("promises",), most_seam, 1, "{:.4f}", "promises", False),
    Target(
        "1024², two steps, s", (f"promises/{SECONDS}",), lambda found: found["promises"][SECONDS], 6, "{:.1f}", "promises", False
    ),
    Target("s/MP as a multiple of the fastest peer's", ("peers",), slowest_margin, 1, "{:.2f}", "peers", False),
    Target(
        "6000×4000, GB",
        ("promises/6000×4000",),
        lambda found: found["promises"]["6000×4000"]["peak_rss_mb"] * 2**20 / 1e9,
        3,
        "{:.2f}",
        "promises --large",
        False,
    ),
)


def table(columns: dict[str, Results]) -> str:
    """Return a Markdown table of all targets; values that meet theirs are bold."""
    lines = ["| figure | asked | " + " | ".join(columns) + " | measured by |", "| --- " * (3 + len(columns)) + "|"]
    for target in TARGETS:
        cells = []
        for results in columns.values():
            value = target.value(results)
            text = "–" if value is None else target.form.format(value)
            cells.append(f"**{text}**" if value is not None and target.met(value) else text)
        asked = ("≥ " if target.least else "≤ ") + target.form.format(target.asked)
        lines.append(f"| {target.title} | {asked} | " + " | ".join(cells) + f" | {target.command} |")
    return "\n".join(lines)


def read_columns(given: Sequence[str]) -> dict[str, Results]:
    """Return the results of every NAME=DIR by name. Raises ValueError for other words and for folders without results."""
    found = {}
    for word in given:
        name, equals, folder = word.partition("=")
        if not (name and equals and folder):
            raise ValueError(f"'{word}'; give NAME=DIR, as in second=runs/benchmarks")
        found[name] = read_results(Path(folder))
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.targets", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="NAME=DIR", help="a title, and a folder of results")
    try:
        print(table(read_columns(parser.parse_args(argv).runs)))
    except ValueError as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    main()
