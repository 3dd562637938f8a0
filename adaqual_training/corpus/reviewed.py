"""This module reads what a look at every photo found and no measure finds: photos to leave out, and weather in the photo
itself."""

import csv
from functools import cache
from pathlib import Path

REVIEWED = Path(__file__).with_name("reviewed.tsv")
"""Columns: source, path, finding. The finding is 'drop' and its reason, or the kinds of damage that the photo shows."""


@cache
def findings() -> dict[tuple[str, str], str]:
    """Return the findings by (source, path)."""
    with REVIEWED.open(newline="", encoding="utf-8") as lines:
        return {
            (row["source"], row["path"]): row["finding"] for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        }


def reason_to_drop(source: str, path: str) -> str | None:
    """Return why the photo is left out, or None."""
    finding = findings().get((source, path), "")
    return finding.removeprefix("drop: ") if finding.startswith("drop: ") else None


def shown_kinds(source: str, path: str) -> list[str]:
    """Return the kinds of damage that were seen in the photo."""
    finding = findings().get((source, path), "")
    return [] if finding.startswith("drop: ") else finding.split()
