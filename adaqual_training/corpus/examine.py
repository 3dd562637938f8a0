"""This module examines one candidate: it decodes, reduces and measures it, and writes the pictures that are kept. Several
processes run it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from adaqual_training.corpus.candidates import Candidate
from adaqual_training.corpus.fitness import fitness
from adaqual_training.corpus.selection import (
    SMALLEST,
    blockiness,
    crops_of,
    difference_hash,
    fault,
    measures,
    open_clean,
    reduction,
    shrink,
)


@dataclass(frozen=True)
class Piece:
    """This class describes one picture that was written: its ``size`` (width, height), its difference hash ``bits``, the hash
    ``sha256`` of its pixels, and the measures of its ``fitness``.
    """

    size: tuple[int, int]
    bits: int
    sha256: str
    fitness: dict[str, float]


@dataclass(frozen=True)
class Examined:
    """This class holds the pieces of a candidate: the whole photo first, then crops of it. A candidate that is left out has none,
    and a ``reason``.

    ``area``: number of pixels of the original.
    """

    reason: str
    area: int = 0
    pieces: tuple[Piece, ...] = ()


def _piece(picture: Image.Image, blocky: float) -> Piece:
    """Return the measures and hashes of one RGB picture. ``blocky``: the blockiness of the original before it was reduced."""
    pixels = np.asarray(picture)
    found = fitness(pixels)
    found["blocky"] = max(found["blocky"], blocky)
    digest = hashlib.sha256(f"{picture.width}x{picture.height}".encode() + pixels.tobytes()).hexdigest()
    return Piece(picture.size, difference_hash(picture), digest, {key: round(value, 4) for key, value in found.items()})


def _kept(candidate: Candidate, picture: Image.Image) -> tuple[str, list[Image.Image], float]:
    """Return the reason to leave the picture out, or "", the pictures that are kept of it, and the blockiness of the original."""
    if candidate.chosen:
        size = candidate.size or picture.size
        return "", [picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS)], 0.0
    factor = reduction(candidate.path, picture.size)
    blocky = blockiness(np.asarray(picture)) if factor > 0.6 else 0.0
    kept = shrink(picture, factor)
    reason = fault(measures(np.asarray(kept)))
    if reason == "soft or upscaled" and min(kept.size) >= 2 * SMALLEST:
        kept = shrink(kept, 0.5)
        reason = fault(measures(np.asarray(kept)))
    if not reason and blocky > 1.25:
        reason = "compressed"
    return reason or "", [] if reason else [kept, *crops_of(picture)], blocky


def examine(job: tuple[Candidate, Path]) -> Examined:
    """Judge one candidate (first of the pair) and write what is kept of it.

    For the path ``raw.png`` (second of the pair) the whole photo becomes ``raw-0.png``, and crops of it ``raw-1.png`` and on.
    """
    candidate, target = job
    picture, reason = open_clean(candidate.file)
    if picture is None:
        return Examined(reason)
    reason, kept, blocky = _kept(candidate, picture)
    for number, piece in enumerate(kept):
        piece.save(target.with_name(f"{target.stem}-{number}.png"), compress_level=3)
    return Examined(reason, picture.width * picture.height, tuple(_piece(piece, blocky) for piece in kept))
