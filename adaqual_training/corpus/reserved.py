"""This module keeps pictures that are kept for evaluation out of the corpus, by name and by perceptual hash."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from adaqual_training.corpus.selection import difference_hash

SAME, RELATED = 6, 10
"""Hamming distances of 64-bit difference hashes: the same picture; two views that must share a photo id and a split."""

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".avif", ".bmp"}
"""Endings of the names of files that are read as pictures."""

RESERVED = re.compile(
    r"(?<![a-z])(scikit-?image|skimage|mate-backgrounds|scikit-?learn|sklearn|ultralytics|imgaug|kodak(?:24)?|mc-?master|c?bsd-?(?:68|100|s?500)"
    r"|live-?1|rain-?100[lh]?|rain-?1[24]00|sots|reside|dicm|rni-?15|deraindrop|raindrop-?test|snow-?100k|o-haze|i-haze|dense-haze)(?![a-z0-9])"
)
"""Names of packages, data sets and their folders that are kept for evaluation."""


def refuse_reserved(name: str | Path, argument: str = "--folder") -> None:
    """Raise ValueError when a path or package name belongs to a source that is kept for evaluation."""
    found = RESERVED.search(str(name).lower().replace("_", "-"))
    if found:
        raise ValueError(
            f"{argument}: {str(name)!r} belongs to '{found[1]}', which is reserved for evaluation and never "
            "trained on; leave it out (or rename the folder if it only shares the name)"
        )


def skimage_data() -> Path | None:
    """Return the data folder of the installed scikit-image without importing it, or None if it is not installed."""
    spec = importlib.util.find_spec("skimage")
    folder = Path(spec.origin).parent / "data" if spec and spec.origin else None
    return folder if folder and folder.is_dir() else None


def hashes_of(folder: Path) -> dict[str, int]:
    """Return the perceptual hash of every picture below a folder, by its path in the folder. Nothing else of them is kept."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
        try:
            with Image.open(path) as picture:
                found[path.relative_to(folder).as_posix()] = difference_hash(picture.convert("RGB"))
        except (OSError, ValueError, SyntaxError):
            continue
    return found


def distance(first: int, second: int) -> int:
    """Return the number of bits in which two hashes differ."""
    return (first ^ second).bit_count()


def nearest(bits: int, others: np.ndarray) -> tuple[int, int]:
    """Return distance and position of the hash in ``others`` (uint64 [N]) that is nearest to ``bits``, or (64, -1) if there is
    none."""
    if not len(others):
        return 64, -1
    apart = np.bitwise_count(others ^ np.uint64(bits))
    position = int(apart.argmin())
    return int(apart[position]), position


def assert_disjoint(manifest: Path, folder: Path) -> None:
    """Raise ValueError when a picture of the manifest is, by perceptual hash, one of those in ``folder``."""
    reserved = hashes_of(folder)
    names, hashes = list(reserved), np.array(list(reserved.values()), np.uint64)
    for entry in json.loads(manifest.read_text())["pictures"]:
        apart, position = nearest(int(entry["hash"], 16), hashes)
        if apart <= SAME:
            raise ValueError(
                f"manifest: {entry['file']} ({entry['path']}) is {names[position]} of {folder}, which is reserved "
                "for evaluation; delete it from the corpus or add it to adaqual_training/corpus/reviewed.tsv"
            )
