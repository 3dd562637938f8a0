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
from adaqual_core.prompt import LEVELS, levels_and_detail
from adaqual_core.reference import reference_quality

WEATHER = (
    ("low",), ("haze",), ("rain",), ("snow",), ("low", "haze"), ("low", "rain"), ("low", "snow"),
    ("haze", "rain"), ("haze", "snow"), ("low", "haze", "rain"), ("low", "haze", "snow"),
)  # fmt: skip
"""The eleven classes of CDD-11."""

SINGLE_WEATHER = (("low",), ("low",), ("haze",), ("haze",), ("rain",), ("snow",))
"""How often each comes alone: darkness and haze have the most ways and are learnt last."""

CAMERA = (
    ("noise",), ("noise",), ("jpeg",), ("jpeg",), ("noise", "jpeg"), ("noise", "jpeg"), ("blur",), ("blur", "noise", "jpeg"),
)  # fmt: skip
"""Blur is rare: two steps do not undo it, and an assessor that meets it often takes soft backgrounds for damage."""

EVALUATED = ("low", "haze", "rain", "snow", "raindrops", "noise", "blur", "jpeg", "haze+rain", "low+snow", "noise+jpeg")


WELL_EXPOSED, NOT_PALE = 0.35, 0.12
"""Least mean luma of a photo that is darkened, and most of the luma that 2 % of a photo's pixels stay below if it is put in
haze: what darkness and haze are undone towards. Photos that are dark or pale by themselves would teach to leave them so."""

SUITED = 0.8
"""How often that is asked for: what comes of the others, night made darker, must not be unknown either."""


def load_corpus(folder: Path, split: str) -> list[list[np.ndarray]]:
    """Pictures of ``split`` ("train" or "held") from the folder's manifest.json, grouped by photo, uint8 [H, W, 3]."""
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise ValueError(f"corpus: no manifest.json in {folder}; make it with 'python -m adaqual_training.corpus --out {folder}'")
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
    if draw < 0.55:
        kinds = rng.choice(SINGLE_WEATHER if rng.random() < 0.5 else WEATHER)
    elif draw < 0.58:
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


def suits(photo: np.ndarray, kind: str) -> bool:
    """Whether ``photo``, uint8 [H, W, 3], shows what a picture without damage of this kind looks like."""
    luma = photo[::8, ::8] @ np.float32((0.299, 0.587, 0.114)) / 255
    if kind == "low":
        return bool(luma.mean() >= WELL_EXPOSED)
    return kind != "haze" or bool(np.quantile(luma, 0.02) <= NOT_PALE)


WHOLE = 96
"""Side in px of the whole photo that gives a crop's levels."""


class DegradedPictures(IterableDataset):
    """Endless stream of {clean, degraded [3, size, size], target [1, size/16, size/16], statistics [LEVELS_AND_DETAIL]}; all
    photos are equally likely, but mostly those that :func:`suits` the damage.

    The statistics are the detail of the degraded crop and the levels of its whole photo, made small and degraded the same way:
    a dark corner of a photo must not pass for a dark photo.
    """

    def __init__(
        self,
        photos: list[list[np.ndarray]],
        size: int,
        seed: int,
        clean: float,
        *,
        composed: float = 0.0,
        native: float = 0.0,
        uneven: float = 0.3,
    ):
        self.photos, self.size, self.seed, self.clean = photos, size, seed, clean
        self.composed, self.native, self.uneven = composed, native, uneven
        self.suited = {kind: {n for n, photo in enumerate(photos) if suits(photo[0], kind)} for kind in ("low", "haze")}

    def _photo(self, plan: dict[str, float], rng: random.Random) -> list[np.ndarray]:
        chosen = set(range(len(self.photos)))
        for kind, suited in self.suited.items():
            if kind in plan and rng.random() < SUITED:
                chosen &= suited
        return self.photos[rng.choice(sorted(chosen or range(len(self.photos))))]

    def __iter__(self):
        torch.set_num_threads(1)
        worker = torch.utils.data.get_worker_info()
        rng = random.Random(f"{self.seed}/{worker.id if worker else 0}")
        regions = torch.Generator().manual_seed(rng.getrandbits(40))
        while True:
            plan = random_plan(rng, self.clean)
            photo = rng.choice(self._photo(plan, rng))
            clean = crop(photo, self.size, rng, self.composed, self.native)
            uneven, seed = rng.random() < self.uneven, rng.getrandbits(40)
            degraded, whole = (
                compose(
                    picture,
                    plan,
                    torch.Generator().manual_seed(seed),
                    region_mask(*picture.shape[1:], regions) if uneven else torch.ones_like(picture[:1]),
                ).picture
                for picture in (clean, crop(photo, WHOLE, rng, composed=1.0))
            )
            statistics = levels_and_detail(degraded[None])[0]
            statistics[:LEVELS] = levels_and_detail(whole[None])[0, :LEVELS]
            yield {
                "clean": clean,
                "degraded": degraded,
                "target": reference_quality(degraded[None], clean[None])[0],
                "statistics": statistics,
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
