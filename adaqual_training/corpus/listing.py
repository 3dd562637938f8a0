"""This module reads and writes the committed list of the corpus' photos, and computes the hash that names a corpus."""

import csv
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("photos.tsv")
"""The list of the corpus that the shipped weights are trained on; the pictures themselves are not committed."""

COLUMNS = ("source", "commit", "path", "licence", "width", "height", "split", "unfit", "hash", "sha256")


@dataclass(frozen=True)
class Listed:
    """This class is one line of the list.

    ``source``: repository (owner/name) or package. ``commit``: commit of the repository or version of the package. ``size``:
    width and height in the corpus. ``bits``: 64-bit difference hash. ``sha256``: of "WIDTHxHEIGHT" and the 8-bit RGB pixels.
    """

    source: str
    commit: str
    path: str
    licence: str
    size: tuple[int, int]
    split: str
    unfit: tuple[str, ...]
    bits: int
    sha256: str

    @property
    def by_git(self) -> bool:
        """Return whether the photo comes from a repository: those have commits of 40 hexadecimal digits, packages have
        versions."""
        return len(self.commit) == 40 and set(self.commit) <= set("0123456789abcdef")


def read_list(path: Path = LIST) -> list[Listed]:
    """Return the lines of a list; ValueError is raised if the file or one of its columns is missing."""
    if not path.is_file():
        raise ValueError(f"list: {path} is not there; build a corpus, whose folder holds its list as photos.tsv")
    with path.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    if rows and (lacking := set(COLUMNS) - set(rows[0])):
        raise ValueError(f"list: {path} lacks the columns {sorted(lacking)}; take the list of a corpus built by this version")
    return [
        Listed(
            row["source"],
            row["commit"],
            row["path"],
            row["licence"],
            (int(row["width"]), int(row["height"])),
            row["split"],
            tuple(row["unfit"].split()),
            int(row["hash"], 16),
            row["sha256"],
        )
        for row in rows
    ]


def write_list(path: Path, pictures: list[dict]) -> None:
    """Write the list of a manifest's pictures, one line a photo (crops of it are left out), in the order of source and path."""
    rows = []
    for entry in sorted((e for e in pictures if not e["crop"]), key=lambda e: (e["source"], e["path"])):
        fields = {**entry, "width": entry["size"][0], "height": entry["size"][1], "unfit": " ".join(entry["unfit"])}
        rows.append("\t".join(str(fields[column]).replace("\t", " ").replace("\n", " ") for column in COLUMNS))
    path.write_text("\n".join(["\t".join(COLUMNS), *rows]) + "\n", encoding="utf-8")


def corpus_hash(pictures: list[dict]) -> str:
    """Return the SHA-256 of the sorted list of (pixel hash, split, weight, unfit kinds), which together decide a training."""
    decisive = sorted([entry["sha256"], entry["split"], entry["weight"], sorted(entry["unfit"])] for entry in pictures)
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()
