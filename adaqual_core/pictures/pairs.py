"""This module pairs degraded pictures in folders with the clean originals that they are measured against."""

from dataclasses import dataclass
from pathlib import Path

from ..errors import PictureError
from .folders import find_pictures
from .formats import GIVE
from .header import read_header

SMALLEST = 11
"""Shortest side in px of a picture whose SSIM is defined: the width of its window (Wang et al. 2004)."""


@dataclass(frozen=True)
class Pair:
    """This class is a degraded file, its clean original and its class."""

    group: str
    degraded: Path
    clean: Path


def _check(pair: Pair) -> None:
    """Raise :class:`PictureError` unless both files hold one picture of the same size, upright, that SSIM is defined for."""
    degraded, clean = read_header(pair.degraded), read_header(pair.clean)
    size = f"{degraded.width}×{degraded.height} px"
    for header in (degraded, clean):
        if header.frames > 1:
            raise PictureError(f"{header.path}: holds {header.frames} frames; measure single pictures")
    if (degraded.height, degraded.width) != (clean.height, clean.width):
        raise PictureError(f"{pair.degraded}: {size}; its original {pair.clean} has another size")
    if min(degraded.height, degraded.width) < SMALLEST:
        raise PictureError(f"{pair.degraded}: {size}; SSIM needs at least {SMALLEST} px on both sides")


def find_pairs(clean: Path, degraded: Path) -> list[Pair]:
    """Return the degraded pictures, in ``degraded`` itself or in one folder per class, with the clean one of the same name.

    The ending may differ. Raises :class:`PictureError` before any work if a partner is missing or of another size.
    """
    originals = {path.stem: path for path in find_pictures(clean)}
    if not degraded.is_dir():
        raise PictureError(f"{degraded}: no such folder; give the folder of the degraded pictures")
    groups = [degraded, *sorted(path for path in degraded.iterdir() if path.is_dir())]
    pairs = []
    for group in groups:
        for path in find_pictures(group, required=False):
            if path.stem not in originals:
                raise PictureError(f"{path}: no picture named {path.stem} in {clean}; give each its clean original")
            pairs.append(Pair(group.name, path, originals[path.stem]))
    if not pairs:
        raise PictureError(f"{degraded}: no pictures in it or in its folders; give {GIVE} files")
    for pair in pairs:
        _check(pair)
    return pairs
