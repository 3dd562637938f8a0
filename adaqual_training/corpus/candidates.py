"""This module lists the files that are examined: those of unpacked packages and of folders of photos, with the origin of each."""

import csv
import json
import re
from collections import Counter
from dataclasses import dataclass
from email.parser import Parser
from fnmatch import fnmatch
from pathlib import Path

from adaqual_training.corpus import sources
from adaqual_training.corpus.reserved import SUFFIXES, refuse_reserved
from adaqual_training.corpus.sources import COMFY, EXCLUDED, SOURCES


@dataclass(frozen=True)
class Candidate:
    """This class is one file that may enter the corpus.

    ``source``: package, or repository as owner/name, or name of a folder. ``file``: where it is. ``root``: the folder of its
    source. ``path``: its path inside the source. ``commit``, ``licence``: as listed; empty where the package has to be asked.
    ``chosen``: whether it stands in a list of photos that were chosen already; otherwise the measures of
    :mod:`adaqual_training.corpus.selection` decide whether it is taken, and at what size. ``size``: width and height in px that a
    chosen photo is reduced to; None where it has its size already.
    """

    source: str
    file: Path
    root: Path
    path: str
    commit: str = ""
    licence: str = ""
    chosen: bool = False
    size: tuple[int, int] | None = None


def provenance(package: str, root: Path, path: str) -> tuple[str, str]:
    """Return the package's version and the licence of one file, from wheel metadata, package.json, or debian/copyright (last
    match)."""
    metadata = next(root.glob("*.dist-info/METADATA"), None)
    if metadata:
        fields = Parser().parsestr(metadata.read_text("utf-8"))
        return fields["Version"], fields["License-Expression"] or fields["License"] or f"see {metadata.name}"
    described = root / "package/package.json"
    if described.is_file():
        fields = json.loads(described.read_text("utf-8"))
        licence = fields.get("license") or fields.get("licenses") or f"see {described.name}"
        return fields["version"], licence if isinstance(licence, str) else json.dumps(licence)
    archive = sources.archived(root.parent.parent, package) if root.parent.name == "x" else None
    version = archive.name.split("_")[1].replace("%3a", ":") if archive else "local"
    notice = root / "usr/share/doc" / package / "copyright"
    if not notice.is_file():
        return version, "unstated"
    parts, answer = path.split("/"), None
    tails = ["/".join(parts[i:]) for i in range(len(parts))]
    for paragraph in re.split(r"\n\s*\n", notice.read_text("utf-8", errors="replace")):
        files = re.search(r"^Files:(.*(?:\n[ \t].*)*)", paragraph, re.M)
        licence = re.search(r"^License:[ \t]*(.*)", paragraph, re.M)
        globs = files[1].split() if files and licence else []
        if any(fnmatch(tail, glob) or glob.endswith("/" + parts[-1]) for glob in globs for tail in tails):
            answer = licence[1].strip() or answer
    return version, answer or f"see {notice.relative_to(root)}"


def photo_key(source: str, path: str) -> str:
    """Return the part of a path that pictures of one scene share: without sizes, stereo views, and before/after marks."""
    if source == "plasma-workspace-wallpapers":
        path = path.split("/contents/")[0]
    elif source == "stellarium-data":
        path = path.rpartition("/")[0]
    elif source.startswith(COMFY):
        path = re.sub(r"-\d+\.\w+$", "", path)
    elif source == "opencv-doc":
        path = re.sub(r"(?<=[a-z])[LRAB]\.\w+$", "", path)
    return f"{source}/{path}"


def _matches(name: str, patterns: str) -> bool:
    """Return whether a path without its suffix ends like one of the blank-separated shell patterns."""
    return any(fnmatch("/" + name.rpartition(".")[0], f"*/{pattern}") for pattern in patterns.split())


def _pictures(root: Path) -> list[Path]:
    """Return every file below ``root`` whose name is a picture's; ValueError is raised for one that belongs to a reserved
    source."""
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    for path in found:
        refuse_reserved(path.resolve())
    return found


def of_package(package: str, root: Path) -> tuple[list[Candidate], Counter]:
    """Return the pictures of an unpacked package of ``SOURCES``, and the number left out by the reviewed patterns, by reason."""
    refuse_reserved(package, "package")
    listed, dropped = [], Counter()
    for file in _pictures(root):
        name = file.relative_to(root).as_posix()
        if not _matches(name, SOURCES[package]):
            dropped[f"{package}: not in the reviewed list"] += 1
        elif any(_matches(name, patterns) for patterns in EXCLUDED.values()):
            dropped[f"{package}: excluded by hand"] += 1
        else:
            listed.append(Candidate(package, file, root, name))
    return listed, dropped


def of_folder(folder: Path) -> list[Candidate]:
    """Return the photos of a folder.

    If the folder has an ``index.tsv`` with the columns name, repository, commit, path and licence, it gives each photo's origin,
    and the photos keep their size. Otherwise the folder is one source. ValueError names a column or line that an index lacks.
    """
    index = folder / "index.tsv"
    if not index.is_file():
        return [Candidate(folder.name, file, folder, file.relative_to(folder).as_posix()) for file in _pictures(folder)]
    with index.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    lacking = {"name", "repository", "commit", "path", "licence"} - set(rows[0] if rows else ())
    if lacking:
        raise ValueError(
            f"--folder: {index} lacks the columns {sorted(lacking)}; add them, or remove the index to take every picture"
        )
    listed = []
    for row in rows:
        refuse_reserved(f"{row['repository']}/{row['path']}")
        file = folder / row["name"]
        if not file.is_file():
            raise ValueError(f"--folder: {index} names {row['name']!r}, which is not there; restore the file, or remove its line")
        listed.append(Candidate(row["repository"], file, folder, row["path"], row["commit"], row["licence"], chosen=True))
    return listed
