"""The way of a picture, and the training, on the device of ``--device``: its results equal those of the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import small
import torch
from lacking import needs_training

from adaqual_core.damage import degrade_batch
from adaqual_core.kinds import KINDS
from adaqual_core.prompt import build_prompt
from adaqual_core.quality.bundled import estimate_quality
from adaqual_core.sampling.restore import restore
from adaqual_core.sampling.settings import settings_for

ROOT = Path(__file__).parents[1]


def test_map_and_result_equal_those_of_the_cpu(device):
    picture = small.picture(83, 121)
    reference_map = estimate_quality(small.assessor(), picture)
    found_map = estimate_quality(small.assessor().to(device), picture)
    assert float((found_map.scores - reference_map.scores).abs().max()) < 0.02
    assert float((found_map.kinds - reference_map.kinds).abs().max()) < 0.01
    prompt = build_prompt(picture, reference_map)
    reference = restore(small.restorer(), picture, prompt).picture
    found = restore(small.restorer().to(device), picture, prompt).picture
    assert float((reference - picture).abs().mean()) > 0.005  # it does something
    assert float((found - reference).abs().max()) <= 1 / 255


def test_tiles_and_batches_equal_the_whole(device):
    picture = small.picture(300, 421)
    net, model = small.assessor().to(device), small.restorer().to(device)
    whole, tiled = estimate_quality(net, picture), estimate_quality(net, picture, tile=64)
    assert float((whole.scores - tiled.scores).abs().max()) < 1e-3 and float((whole.kinds - tiled.kinds).abs().max()) < 1e-3
    prompt = build_prompt(picture, whole)
    reference = restore(model, picture, prompt, settings_for(model, tile=512)).picture
    for settings in (settings_for(model, tile=64), settings_for(model, tile=128, tile_batch=1)):
        assert float((restore(model, picture, prompt, settings).picture - reference).abs().max()) <= 1 / 255


def test_a_map_without_kinds_is_refused_with_a_remedy():
    picture = small.picture(48, 48)
    with pytest.raises(ValueError, match="names no kinds.*bundled assessor"):
        restore(small.restorer(), picture, build_prompt(picture, small.flat_map(48, 48, 2.0)))


def test_nothing_is_done_where_nothing_is_asked(device):
    picture = small.picture(48, 64)
    result = restore(small.restorer().to(device), picture, build_prompt(picture, small.undamaged(48, 64)))
    assert torch.equal(result.picture, picture) and result.tiles_run == 0


def test_damage_is_made_on_the_device(device):
    clean = small.picture(64, 64, batch=2).to(device)
    severities = torch.full((2, len(KINDS)), 0.4)
    found = degrade_batch(clean, severities, [1, 2])
    assert found.picture.device.type == device.type and bool(torch.isfinite(found.picture).all())
    assert bool((found.severity.amax((2, 3)) > 0).all())


@needs_training
def test_training_runs_on_the_device(device, corpus, tmp_path):
    recipe = ROOT / "tests" / "training" / "recipes" / "restorer.toml"
    command = [sys.executable, "-m", "adaqual_training", "--recipe", str(recipe), "--corpus", str(corpus), "--out", str(tmp_path)]
    subprocess.run([*command, "--updates", "2", "--device", device.type], cwd=ROOT, check=True)
    assert json.loads((tmp_path / "log.jsonl").read_text())["update"] == 2
