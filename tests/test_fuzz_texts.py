"""Malformed JSON and TOML files, drawn from seeds: configurations of assessors, kept scores, recipes of trainings."""

import copy
import json
import math
import random
from pathlib import Path

import pytest
import torch
from small_deqa import CONFIG

from adaqual_core.errors import CheckpointError
from adaqual_core.quality.assess import open_assessor
from adaqual_core.quality.cache import ScoreCache
from adaqual_core.quality.deqa.config import DeqaConfig, parse_config
from adaqual_core.quality.deqa.network import DeqaNet
from adaqual_training.recipe import Recipe, read_recipe

ODD = (None, True, -1, 0, 1, 7, 0.5, math.nan, math.inf, 10**12, 2**70, "", "two", [], {}, [1, "x"])
RECIPES = Path(__file__).parent / "training" / "recipes"


def odd_place(value: dict, rng: random.Random) -> dict:
    """A nested mapping in which one entry is odd or missing."""
    changed = copy.deepcopy(value)
    place = changed
    while True:
        key = rng.choice(list(place))
        if not isinstance(place[key], dict) or not place[key] or rng.random() < 0.1:
            break
        place = place[key]
    if rng.random() < 0.2:
        del place[key]
    else:
        place[key] = rng.choice(ODD)
    return changed


@pytest.mark.parametrize("seed", range(100))
def test_configurations_of_deqa_are_refused_by_name_or_can_be_built(tmp_path, seed):
    found = odd_place(CONFIG, random.Random(seed))
    try:
        config = parse_config(found, "config.json")
    except CheckpointError as problem:
        assert str(problem).startswith("config.json: ")
    else:
        assert isinstance(config, DeqaConfig)
        with torch.device("meta"):
            DeqaNet(config)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", "null", '"clip"', "{}", '{"model_type": 7}', "\xff", "[" * 100_000], ids=lambda text: text[:10]
)
def test_folders_with_odd_configurations_are_refused(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match="config.json|model.safetensors"):
        open_assessor(tmp_path)


@pytest.mark.parametrize("seed", range(50))
def test_kept_scores_that_are_damaged_count_as_none(tmp_path, seed):
    rng = random.Random(seed)
    cache, scores = ScoreCache(tmp_path), [1.5, 2.25, 4.0]
    cache.put("key", scores)
    path = tmp_path / "key.json"
    text = path.read_text()
    if rng.random() < 0.5:
        text = json.dumps(odd_place(json.loads(text), rng))
    else:
        start = rng.randrange(len(text))
        text = text[:start] + rng.choice(("", "\x00", "9", "}", "[" * 5000)) + text[start + rng.randint(1, 9) :]
    path.write_text(text)
    assert cache.get("key", 3) in (None, scores)
    cache.put("key", scores)
    assert cache.get("key", 3) == scores


def written(value: object) -> str:
    """A value as TOML writes it; what it cannot write is written as text."""
    if isinstance(value, float):
        return {math.inf: "inf"}.get(value, "nan" if math.isnan(value) else repr(value))
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(written, value))}]"
    return json.dumps(value) if isinstance(value, bool | int | str) else f'"{value}"'


@pytest.mark.parametrize("seed", range(100))
@pytest.mark.parametrize("network", ["assessor", "restorer"])
def test_recipes_are_refused_by_name_or_whole(tmp_path, network, seed):
    rng = random.Random(seed)
    lines = (RECIPES / f"{network}.toml").read_text().splitlines()
    number = rng.choice([number for number, line in enumerate(lines) if line.strip()])
    name, equals, _ = lines[number].partition(" = ")
    lines[number] = (
        f"{name} = {written(rng.choice(ODD))}"
        if equals and rng.random() < 0.8
        else rng.choice(("", "[schedule]", "x = 1", "= ="))
    )
    path = tmp_path / "odd.toml"
    path.write_text("\n".join(lines))
    try:
        recipe = read_recipe(path)
    except ValueError as problem:
        assert "odd.toml" in str(problem)
    else:
        assert isinstance(recipe, Recipe) and recipe.schedule.updates > recipe.schedule.warmup > 0
