"""This module makes training scenes: a crop of a clean photo, a random composition of damage, and everything that is known about
it.

A scene is a pure function of the settings, the photos, a seed and its number: the same scene can be made again at any time, in
any process. Therefore a run can resume exactly, and several processes can share one stream of scenes.
"""

import json
import math
import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from adaqual_core.damage import degrade_batch
from adaqual_core.damage.draws import Draws
from adaqual_core.damage.fields import region_mask
from adaqual_core.filters import luma
from adaqual_core.grid import CELL, severity_of
from adaqual_core.image_statistics import levels_and_detail
from adaqual_core.kinds import KINDS
from adaqual_core.quality.estimator import QualityEstimator
from adaqual_core.quality.reference import reference_quality

WEATHER = (
    ("low", "haze"),
    ("low", "rain"),
    ("low", "snow"),
    ("haze", "rain"),
    ("haze", "snow"),
    ("low", "haze", "rain"),
    ("low", "haze", "snow"),
    ("rain", "raindrops"),
    ("haze", "raindrops"),
)
"""Compositions of weather: those of CDD-11 (OneRestore), and raindrops on the lens with rain or haze."""

CAMERA = (
    ("noise", "jpeg"),
    ("low", "noise"),
    ("low", "noise", "jpeg"),
    ("blur", "noise"),
    ("blur", "jpeg"),
    ("blur", "noise", "jpeg"),
)
"""Compositions of low light, blur, noise and JPEG: the damage of the light, the lens, the sensor and the file."""


@dataclass(frozen=True)
class SceneSettings:
    """This class says how scenes are drawn (our definition; a recipe's table ``scenes`` holds it).

    ``size``: side of a scene in px, a multiple of 16. ``clean``, ``single``, ``weather``, ``camera``: shares of undamaged
    scenes, of one kind alone, of compositions of weather, and of compositions of camera damage; the remaining scenes are
    compositions of weather followed by camera damage. ``weights``: how often each kind comes alone, in the order of KINDS.
    ``lowest``, ``highest``: range of the severity asked of a kind. ``uneven``: share of scenes damaged in a region only.
    ``behind_camera``: share of scenes seen through a camera with processing of its own. ``struck``: share of compositions from
    which some kinds are struck out, so that the target keeps their damage. ``native``: share of crops that keep the photo's own
    pixels. ``graded``: share of photos that are given another look first (:func:`graded`).
    """

    size: int
    clean: float
    single: float
    weather: float
    camera: float
    weights: tuple[float, ...]
    lowest: float
    highest: float
    uneven: float
    behind_camera: float
    struck: float
    native: float
    graded: float


class Photos:
    """This class holds the photos of one split of a corpus folder. They are drawn by weight; their pixels are decoded when first
    needed, then kept.
    """

    def __init__(self, folder: Path, split: str):
        manifest = folder / "manifest.json"
        if not manifest.is_file():
            raise ValueError(
                f"corpus: no manifest.json in {folder}; make it with 'python -m adaqual_training.corpus --out {folder}'"
            )
        content = json.loads(manifest.read_text())
        self.hash: str = content["hash"]
        self.entries = [entry for entry in content["pictures"] if entry["split"] == split]
        if not self.entries:
            raise ValueError(f"corpus: no picture of split '{split}' in {manifest}")
        self.weights = [float(entry["weight"]) for entry in self.entries]
        self.unfit = [frozenset(entry["unfit"]) for entry in self.entries]
        self.folder = folder
        self.pixels = lru_cache(maxsize=None)(self._pixels)

    def _pixels(self, index: int) -> np.ndarray:
        with Image.open(self.folder / self.entries[index]["file"]) as picture:
            return np.asarray(picture.convert("RGB"))

    def known(self, index: int) -> Tensor:
        """Return [8]: 0 for the kinds of damage that photo ``index`` itself may show, and 1 for all others."""
        return torch.tensor([float(kind not in self.unfit[index]) for kind in KINDS])

    def draw(self, kinds: tuple[str, ...], rng: random.Random) -> int:
        """Return the number of a photo that is a clean example of all ``kinds``, drawn by weight."""
        for _ in range(100):
            index = rng.choices(range(len(self.weights)), self.weights)[0]
            if not self.unfit[index].intersection(kinds):
                return index
        raise ValueError(f"corpus: hardly any photo of {self.folder} is a clean example of {', '.join(kinds)}; add photos")


def random_kinds(rng: random.Random, settings: SceneSettings) -> tuple[str, ...]:
    """Return the kinds of damage of one scene; none for an undamaged one."""
    single = tuple(rng.choices(KINDS, settings.weights))
    choices = (
        (),
        single,
        rng.choice(WEATHER),
        rng.choice(CAMERA),
        rng.choice(WEATHER) + rng.choice((("noise",), ("jpeg",), ("noise", "jpeg"))),
    )
    shares = (settings.clean, settings.single, settings.weather, settings.camera)
    return rng.choices(choices, (*shares, 1 - sum(shares)))[0]


def random_crop(photo: np.ndarray, settings: SceneSettings, rng: random.Random) -> Tensor:
    """Return a crop [3, size, size] in [0, 1] at a random scale, never enlarged beyond the photo's pixels, often flipped or
    turned."""
    size, shortest = settings.size, min(photo.shape[:2])
    share = 0.0 if rng.random() < settings.native else rng.uniform(0, 1)
    side = min(shortest, round(size * max(1.0, shortest / size) ** share))
    top, left = rng.randint(0, photo.shape[0] - side), rng.randint(0, photo.shape[1] - side)
    pixels = photo[top : top + side, left : left + side]
    if side != size:
        pixels = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS))
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if rng.random() < 0.1:
        pixels = np.rot90(pixels, rng.choice((1, 3)))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


def graded(photo: Tensor, rng: random.Random) -> Tensor:
    """Return a photo [3, H, W] in [0, 1] with the look of another film, camera or taste (our definition).

    Blacks rise by up to 0.08 and whites fall by up to 0.1, midtones get darker or lighter, colours paler or stronger, and all a
    tint. Such a photo is not damaged: an assessor that never sees one takes faded prints and flat light for haze.
    """
    levels = torch.tensor([math.exp(rng.uniform(-0.06, 0.06)) for _ in range(3)])[:, None, None]
    toned = photo.clamp_min(1e-4) ** (levels * math.exp(rng.uniform(-0.25, 0.25)))
    grey = luma(toned)
    toned = grey + rng.uniform(0.65, 1.15) * (toned - grey)
    black, white = rng.uniform(0, 0.08), rng.uniform(0.9, 1)
    return (black + (white - black) * toned).clamp(0, 1)


def cells(field: Tensor) -> Tensor:
    """Return the means over cells of 16×16 px: [B, C, H, W] gives [B, C, H/16, W/16]."""
    return F.avg_pool2d(field, CELL)


def eight_bit(picture: Tensor) -> Tensor:
    """Return a picture in [0, 1] as 8-bit numbers."""
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8)


def composed(
    clean: Tensor, asked: dict[str, float], seed: int, uneven: bool, behind_camera: bool, kept: frozenset[str]
) -> dict[str, Tensor]:
    """Return everything that is known about one scene of these kinds and severities.

    ``degraded`` and ``target`` [3, H, W] are 8-bit numbers; the target keeps the damage of the kinds in ``kept``. ``severity``
    [8, h, w] and ``quality`` [1, h, w] hold, for each cell, the severity by kind and the reference quality against the clean
    picture. ``factors`` [8]: 0 for kinds that are kept, 1 for all others. ``levels`` [40]: levels and detail of the degraded
    picture.
    """
    height, width = clean.shape[-2:]
    region = Draws(seed, "region")
    mask = region_mask(height, width, region)[None] if uneven else None
    asked_all = torch.tensor([[asked.get(kind, 0.0) for kind in KINDS]])
    whole = degrade_batch(clean[None], asked_all, [seed], mask, [behind_camera])
    target = whole.clean
    if kept:
        remaining = torch.tensor([[asked.get(kind, 0.0) if kind in kept else 0.0 for kind in KINDS]])
        target = degrade_batch(clean[None], remaining, [seed], mask, [behind_camera]).picture
    degraded = eight_bit(whole.picture)
    seen = degraded.float() / 255
    return {
        "degraded": degraded[0],
        "target": eight_bit(target)[0],
        "severity": cells(whole.severity)[0],
        "quality": reference_quality(seen, whole.clean)[0],
        "factors": torch.tensor([float(kind not in kept) for kind in KINDS]),
        "levels": levels_and_detail(seen)[0],
    }


def estimated(assessor: QualityEstimator, degraded: Tensor) -> Tensor:
    """Return the assessor's estimate of 8-bit pixels [3, H, W]: overall severity and severity by kind, [9, h, w]. H and W are
    multiples of 16 px.

    It is without :func:`adaqual_core.quality.haze_judgement.correct_haze`. That corrects for haze of a look that no training
    drew; a restorer that learnt from corrected maps would take the correction back.
    """
    with torch.inference_mode():
        scores, kinds = assessor.severities(degraded[None].float() / 255)
    return torch.cat((severity_of(scores), kinds), 1)[0]


def make_scene(
    photos: Photos, settings: SceneSettings, seed: int, number: int, assessor: QualityEstimator | None = None
) -> dict[str, Tensor]:
    """Return scene ``number`` of the stream ``seed``: the tensors of :func:`composed`, and ``known`` [8].

    ``known`` is 0 for kinds that the photo itself may show, whose severity is therefore not known, and 1 for all others. With an
    ``assessor`` the scene also holds "estimated", the tensor of :func:`estimated`.
    """
    rng = random.Random(f"{seed}/{number}")
    kinds = random_kinds(rng, settings)
    index = photos.draw(kinds, rng)
    clean = random_crop(photos.pixels(index), settings, rng)
    if settings.graded and rng.random() < settings.graded:  # nothing is drawn at 0: the scenes of older recipes stay as they were
        clean = graded(clean, rng)
    ceiling = settings.highest if len(kinds) == 1 else 0.85 * settings.highest
    asked = {kind: rng.uniform(settings.lowest, ceiling) for kind in kinds}
    if "haze" in asked:  # its severity is that of the thickest place: haze of evenly drawn severities is mostly thin
        asked["haze"] = max(asked["haze"], rng.uniform(settings.lowest, ceiling))
    if kinds == ("noise",):  # its error grows with the square of its severity: noise of evenly drawn severities is mostly faint
        asked["noise"] = max(asked["noise"], rng.uniform(settings.lowest, ceiling))
    kept: frozenset[str] = frozenset()
    if len(kinds) > 1 and rng.random() < settings.struck:
        kept = frozenset(rng.sample(kinds, rng.randint(1, len(kinds) - 1)))
    uneven, behind_camera = rng.random() < settings.uneven, rng.random() < settings.behind_camera
    scene = composed(clean, asked, rng.getrandbits(32), bool(kinds) and uneven, behind_camera, kept)
    if assessor is not None:
        scene["estimated"] = estimated(assessor, scene["degraded"])
    return scene | {"known": photos.known(index)}
