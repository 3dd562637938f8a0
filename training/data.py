"""Training pictures: random crops of clean photos with random compositions of degradations."""

import json
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset

from adaqual_core.degrade import compose
from adaqual_core.fields import region_mask
from adaqual_core.reference import reference_quality

WEATHER = (
    ("low",), ("haze",), ("rain",), ("snow",), ("low", "haze"), ("low", "rain"), ("low", "snow"),
    ("haze", "rain"), ("haze", "snow"), ("low", "haze", "rain"), ("low", "haze", "snow"),
)  # fmt: skip
"""The eleven classes of CDD-11."""

CAMERA = (
    ("noise",), ("noise",), ("jpeg",), ("jpeg",), ("noise", "jpeg"), ("noise", "jpeg"), ("blur",), ("blur", "noise", "jpeg"),
)  # fmt: skip
"""Blur is rare: two steps do not undo it, and an assessor that meets it often takes soft backgrounds for damage."""

EVALUATED = ("low", "haze", "rain", "snow", "raindrops", "noise", "blur", "jpeg", "haze+rain", "low+snow", "noise+jpeg")


def load_corpus(folder: Path, split: str) -> list[list[np.ndarray]]:
    """Pictures of ``split`` ("train" or "held") from the folder's manifest.json, grouped by photo, uint8 [H, W, 3]."""
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise ValueError(f"corpus: no manifest.json in {folder}; make it with 'python -m training.corpus --out {folder}'")
    entries = json.loads(manifest.read_text())
    entries = entries["pictures"] if isinstance(entries, dict) else entries
    photos: dict[str, list[np.ndarray]] = {}
    for entry in entries:
        if entry["split"] == split:
            pixels = np.asarray(Image.open(folder / entry["file"]).convert("RGB"))
            photos.setdefault(str(entry["photo"]), []).append(pixels)
    if not photos:
        raise ValueError(f"corpus: no picture of split '{split}' in {manifest}")
    return [photos[key] for key in sorted(photos)]


def random_plan(rng: random.Random, clean: float) -> dict[str, float]:
    """Severity by kind of a random composition; empty (a clean picture) with probability ``clean``.

    Haze and darkness begin at a severity that can be told from another time of day; weaker ones would teach that every
    clean picture may be a damaged one.
    """
    if rng.random() < clean:
        return {}
    draw = rng.random()
    if draw < 0.50:
        kinds = rng.choice(WEATHER[:4] if rng.random() < 0.5 else WEATHER)
    elif draw < 0.54:
        kinds = ("raindrops",)
    elif draw < 0.85:
        kinds = rng.choice(CAMERA)
    else:
        kinds = rng.choice(WEATHER) + rng.choice((("noise",), ("jpeg",), ("noise", "jpeg")))
    ceiling = 1.0 if len(kinds) == 1 else 0.85
    return {kind: rng.uniform(0.35 if kind in ("low", "haze") else 0.12, ceiling) for kind in kinds}


def crop(photo: np.ndarray, size: int, rng: random.Random, composed: float = 0.0, native: float = 0.0) -> Tensor:
    """Random crop [3, size, size] in [0, 1] at a random scale (never enlarged past the pixels there are), flipped, turned; with
    probability ``composed`` as large as the photo allows (its levels are those of a composed picture), and with probability
    ``native`` of the photo's own pixels (as soft and as grainy as pictures are that were not made smaller)."""
    shortest = min(photo.shape[:2])
    draw = rng.random()
    scale = 1.0 if draw < composed else 0.0 if draw < composed + native else rng.uniform(0, 1)
    side = min(shortest, round(size * max(1.0, shortest / size) ** scale))
    top = rng.randint(0, photo.shape[0] - side)
    left = rng.randint(0, photo.shape[1] - side)
    pixels = photo[top : top + side, left : left + side]
    if side != size:
        pixels = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS))
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if rng.random() < 0.25:
        pixels = np.rot90(pixels, rng.choice((1, 3)))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


class DegradedPictures(IterableDataset):
    """Endless stream of {clean, degraded [3, size, size], target [1, size/16, size/16]}; every photo is equally likely."""

    def __init__(
        self,
        photos: list[list[np.ndarray]],
        size: int,
        seed: int,
        clean: float,
        *,
        composed: float = 0.0,
        native: float = 0.0,
    ):
        self.photos, self.size, self.seed, self.clean = photos, size, seed, clean
        self.composed, self.native = composed, native

    def __iter__(self):
        torch.set_num_threads(1)
        worker = torch.utils.data.get_worker_info()
        rng = random.Random(f"{self.seed}/{worker.id if worker else 0}")
        generator = torch.Generator().manual_seed(rng.getrandbits(40))
        while True:
            clean = crop(rng.choice(rng.choice(self.photos)), self.size, rng, self.composed, self.native)
            uneven = rng.random() < 0.3
            mask = region_mask(self.size, self.size, generator) if uneven else torch.ones(1, self.size, self.size)
            degraded = compose(clean, random_plan(rng, self.clean), generator, mask).picture
            yield {
                "clean": clean,
                "degraded": degraded,
                "target": reference_quality(degraded[None], clean[None])[0],
            }


def held_out(photos: list[list[np.ndarray]], size: int, per_kind: int) -> dict[str, dict[str, Tensor]]:
    """Fixed evaluation set: for every kind of EVALUATED, "uneven" and "clean" a batch {clean, degraded, target}."""
    cases = {}
    for number, kind in enumerate((*EVALUATED, "uneven", "clean")):
        rng = random.Random(1000 + number)
        generator = torch.Generator().manual_seed(1000 + number)
        cleans, degradeds = [], []
        for i in range(per_kind):
            clean = crop(photos[(number + i) % len(photos)][0], size, rng)
            mask = region_mask(size, size, generator) if kind == "uneven" else torch.ones(1, size, size)
            kinds = () if kind == "clean" else rng.choice(WEATHER) if kind == "uneven" else tuple(kind.split("+"))
            plan = {k: rng.uniform(0.3, 0.9) for k in kinds}
            cleans.append(clean)
            degradeds.append(compose(clean, plan, generator, mask).picture)
        clean, degraded = torch.stack(cleans), torch.stack(degradeds)
        cases[kind] = {"clean": clean, "degraded": degraded, "target": reference_quality(degraded, clean)}
    return cases


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """PSNR in dB of each picture of two batches [B, 3, H, W] in [0, 1], at most 100."""
    error = F.mse_loss(first.clamp(0, 1), second, reduction="none").mean((1, 2, 3))
    return -10 * torch.log10(error.clamp_min(1e-10))
