"""The training package's other commands: ``adaqual train`` for a restorer, shipping, and ablation."""

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from small import assessor, picture, restorer

from adaqual_core import cli
from adaqual_core.kinds import KINDS
from adaqual_core.networks.restorer import Restorer
from adaqual_core.prompt import build_prompt
from adaqual_core.published.read import load_restorer
from adaqual_core.quality.bundled import load_assessor
from adaqual_core.quality.estimator import EstimatorConfig, QualityEstimator
from adaqual_core.quality.map import QualityMap
from adaqual_core.sampling.restore import restore
from adaqual_core.sampling.settings import settings_for
from adaqual_core.weight_files import save_model
from adaqual_training import ablation
from adaqual_training.held_out import GROUPS
from adaqual_training.recipe import read_recipe
from adaqual_training.restorer import RestorerTask
from adaqual_training.ship import ship

RECIPES = Path(__file__).parent / "recipes"
PIXELS = picture(48, 64)


def restored(model: torch.nn.Module) -> torch.Tensor:
    """What a restorer makes of a damaged picture."""
    kinds = torch.full((1, len(KINDS), 3, 4), 0.3)
    prompt = build_prompt(PIXELS, QualityMap(torch.full((1, 1, 3, 4), 2.0), 48, 64, "test", kinds))
    return restore(model, PIXELS, prompt, settings_for(model)).picture


def test_a_trained_restorer_can_be_shipped_and_restores(corpus, tmp_path, capsys):
    options = ["--recipe", RECIPES / "restorer.toml", "--corpus", corpus, "--out", tmp_path, "--updates", 2, "--device", "cpu"]
    assert cli.main(["train", *map(str, options)]) == 0
    (line,) = (json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines())
    assert line["update"] == 2 and set(GROUPS) <= set(line) and math.isfinite(line["loss"])
    ship([tmp_path / "restorer.safetensors"], tmp_path / "shipped.safetensors")
    first, second = (load_restorer(tmp_path / f"{name}.safetensors") for name in ("restorer", "shipped"))
    assert isinstance(second, Restorer) and (restored(first) - restored(second)).abs().max() < 0.01


@pytest.mark.parametrize("make, load", [(assessor, load_assessor), (restorer, load_restorer)])
def test_shipped_weights_are_half_as_large_and_nearly_the_same(make, load, tmp_path, capsys):
    save_model(make(), tmp_path / "full.safetensors", {"updates": 7})
    ship([tmp_path / "full.safetensors"], tmp_path / "half.safetensors")
    with safe_open(tmp_path / "half.safetensors", "pt") as file:
        assert json.loads(file.metadata()["notes"]) == {"updates": 7}
    before, after = (load_file(tmp_path / f"{name}.safetensors") for name in ("full", "half"))
    assert {value.dtype for value in after.values()} == {torch.float16}
    change = max(float((before[key] - after[key].float()).abs().max()) for key in before)
    assert 0 < change < 1e-2 and f"largest change of a weight {change:.1e}" in capsys.readouterr().out
    load(tmp_path / "half.safetensors")


def test_the_mean_of_several_runs_can_be_shipped(tmp_path):
    files = [tmp_path / name for name in ("first.safetensors", "second.safetensors")]
    for number, file in enumerate(files):
        model = restorer()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(0.25 + 0.5 * number)
        save_model(model, file, {"updates": number})
    ship(files, tmp_path / "mean.safetensors")
    assert all((value == 0.5).all() for value in load_file(tmp_path / "mean.safetensors").values())
    with safe_open(tmp_path / "mean.safetensors", "pt") as file:
        notes = json.loads(file.metadata()["notes"])
    assert notes["updates"] == 1 and notes["mean_of"] == [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def test_the_ablation_trains_and_measures_each_variant(corpus, tmp_path, capsys):
    assessor, recipe = tmp_path / "assessor.safetensors", tmp_path / "recipe.toml"
    save_model(QualityEstimator(EstimatorConfig((8, 8, 8, 8), (1, 1, 1), (1,), 8)), assessor, {})
    recipe.write_text(f'assessor = "{assessor}"\n{(RECIPES / "restorer.toml").read_text()}')
    options = ["--recipe", recipe, "--corpus", corpus, "--run", tmp_path, "--updates", 10, "--device", "cpu"]
    ablation.main([*map(str, options), "--only", "one step only", "without grid"])
    rows = [json.loads(line) for line in (tmp_path / "table.jsonl").read_text().splitlines()]
    measured = [("one step only", steps, maps) for maps in ("true", "estimated") for steps in (1, 2, 4)]
    measured += [("without grid", 2, "true"), ("without grid", 2, "estimated")]
    assert [(row["variant"], row["steps"], row["maps"]) for row in rows] == measured
    for row in rows:
        assert row["updates"] == 10 and all(math.isfinite(row[group]) for group in GROUPS)
    assert len({tuple(row[group] for group in GROUPS) for row in rows}) == len(rows)
    printed = capsys.readouterr().out
    assert all(f"{row['variant']} | {row['maps']} | {row['steps']} | low {row['low']:+.2f}" in printed for row in rows)
    assert (tmp_path / "without-grid" / "restorer.safetensors").is_file()


def test_a_restorer_is_not_trained_without_the_assessor_that_its_recipe_names(corpus):
    recipe = replace(read_recipe(RECIPES / "restorer.toml"), assessor=Path("no such file"))
    with pytest.raises(ValueError, match="assessor: no file no such file; train it first"):
        RestorerTask(recipe, corpus)


@pytest.mark.parametrize("name", list(ablation.VARIANTS))
def test_every_variant_is_a_restorer_that_differs_in_what_it_says(name, corpus):
    variant, recipe = ablation.VARIANTS[name], read_recipe(RECIPES / "restorer.toml")
    shortened = ablation.shortened(recipe, 10, variant.loss)
    assert {key for key, value in shortened.loss.items() if value != recipe.loss[key]} == set(variant.loss)
    network = RestorerTask(shortened, corpus).network
    layers = set(network.state_dict())
    variant.change(network)
    assert (set(network.state_dict()) != layers) == (name in ("without grid", "body: gated 4x4", "body: plain 4x4"))
    found = restored(network.eval().requires_grad_(False))
    assert found.shape == PIXELS.shape and bool(torch.isfinite(found).all())
