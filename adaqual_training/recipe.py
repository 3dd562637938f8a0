"""This module reads recipes: TOML files that hold every number that decides a network."""

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import tomllib

from adaqual_core.checks import check_numbers

from .pool import PoolSettings
from .scenes import SceneSettings

NETWORKS = ("assessor", "restorer")
PRECISIONS = ("bfloat16", "float32")


@dataclass(frozen=True)
class Schedule:
    """This class says how long and how fast a network is trained (a recipe's table ``schedule``).

    ``seed``: seed of the first weights, the scenes and the noise. ``updates``: length of the run; the learning rate rises over
    ``warmup`` updates to ``rate`` and falls to zero along one cosine. ``batch``: samples in an update, over all processes
    together. ``crop``: side in px of a training crop. ``average``: decay of the moving average of the weights. ``clip``: greatest
    norm of the gradient. ``precision``: "bfloat16", used where the processor or accelerator has it, or "float32".
    ``evaluate_every``: updates between evaluations. ``held_out``: pictures per kind in an evaluation.
    """

    seed: int
    updates: int
    batch: int
    crop: int
    rate: float
    warmup: int
    average: float
    weight_decay: float
    clip: float
    precision: str
    evaluate_every: int
    held_out: int


@dataclass(frozen=True)
class Recipe:
    """This class is one recipe: a network with its sizes, scenes, schedule and losses.

    ``network``: "assessor" or "restorer". ``assessor``: file, relative to the working folder, of the assessor whose maps a
    restorer is told in a share of the samples. ``sizes``: fields of the network's configuration. ``loss``: fields of the
    network's loss settings. ``text`` and ``sha256``: the file's own text and hash, which the header of the weights keeps.
    """

    network: str
    assessor: Path | None
    sizes: dict[str, Any]
    schedule: Schedule
    scenes: SceneSettings
    pool: PoolSettings
    loss: dict[str, Any]
    text: str
    sha256: str


def _table(path: Path, content: dict, name: str, kind: type):
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in content.get(name, {}).items()}
    known = {field.name for field in fields(kind)}
    odd = sorted(set(given) ^ known)
    if odd:
        what = "missing" if odd[0] in known else "unknown"
        raise ValueError(f"{path}: table [{name}]: {odd[0]} is {what}; it needs exactly {', '.join(sorted(known))}")
    try:
        table = kind(**given)
        check_numbers(table)
    except ValueError as problem:
        raise ValueError(f"{path}: table [{name}]: {problem}") from None
    return table


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in a TOML file. ValueError names the table, the field and the expected value."""
    if not path.is_file():
        raise ValueError(f"--recipe: no file {path}; the shipped recipes lie in recipes/")
    text = path.read_text("utf-8")
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise ValueError(f"{path}: not readable as TOML ({problem})") from None
    if content.get("network") not in NETWORKS:
        raise ValueError(f"{path}: network: {content.get('network')!r}; choose {' or '.join(NETWORKS)}")
    recipe = Recipe(
        network=content["network"],
        assessor=Path(content["assessor"]) if "assessor" in content else None,
        sizes={key: tuple(value) if isinstance(value, list) else value for key, value in content.get("sizes", {}).items()},
        schedule=_table(path, content, "schedule", Schedule),
        scenes=_table(path, content, "scenes", SceneSettings),
        pool=_table(path, content, "pool", PoolSettings),
        loss=content.get("loss", {}),
        text=text,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
    )
    schedule = recipe.schedule
    if recipe.scenes.size % 16 or schedule.crop % 16 or schedule.crop > recipe.scenes.size:
        raise ValueError(
            f"{path}: scenes.size {recipe.scenes.size}, schedule.crop {schedule.crop}; give multiples of 16, the crop no larger"
        )
    if schedule.precision not in PRECISIONS:
        raise ValueError(f"{path}: schedule.precision {schedule.precision!r}; choose {' or '.join(PRECISIONS)}")
    if not 0 < schedule.warmup < schedule.updates:
        raise ValueError(
            f"{path}: schedule.warmup {schedule.warmup}; give more than 0 and fewer than updates ({schedule.updates})"
        )
    return recipe
