"""One file per restorer: a copy restores like the original, what is saved can be loaded, and the header names the parts."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from small import official, picture, prompt_for, restorer, weather

from adaqual_core.errors import CheckpointError
from adaqual_core.kinds import KINDS
from adaqual_core.networks.registry import FAMILIES, family_of
from adaqual_core.networks.shipped import SHIPPED_RESTORER
from adaqual_core.prompt import build_prompt
from adaqual_core.published.read import load_restorer
from adaqual_core.quality.assess import open_assessor
from adaqual_core.quality.map import QualityMap
from adaqual_core.sampling.restore import restore
from adaqual_core.sampling.settings import settings_for
from adaqual_core.weight_files import save_model


def restored(model, pixels):
    """The picture restored by a map that names every kind."""
    height, width = pixels.shape[-2:]
    scores = torch.full((1, 1, 1, 1), 2.0)
    quality = QualityMap(scores, height, width, "test", torch.full((1, len(KINDS), 1, 1), 0.4))
    return restore(model, pixels, build_prompt(pixels, quality)).picture


def test_what_is_saved_restores_as_before_and_so_does_a_copy(tmp_path):
    pixels, model = picture(40, 50), restorer()
    save_model(model, tmp_path / "saved.safetensors", {"trained": "never"})
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(tmp_path / "saved.safetensors", tmp_path / "elsewhere" / "copy.safetensors")
    expected = restored(model, pixels)
    assert (expected - pixels).abs().max() > 0.01
    for path in (tmp_path / "saved.safetensors", tmp_path / "elsewhere" / "copy.safetensors"):
        found = load_restorer(path)
        assert type(found) is type(model) and not found.training
        assert torch.equal(restored(found, pixels), expected)


@pytest.mark.parametrize("again", [False, True], ids=["copied", "saved again"])
def test_the_shipped_restorer_is_the_same_wherever_it_lies(tmp_path, again):
    original, path = load_restorer(SHIPPED_RESTORER), tmp_path / "mine.safetensors"
    if again:
        save_model(original, path, {})
    else:
        shutil.copyfile(SHIPPED_RESTORER, path)
    relative = load_restorer(Path(os.path.relpath(SHIPPED_RESTORER)))
    pixels = picture(40, 50)
    expected = restored(original, pixels)
    assert torch.equal(restored(load_restorer(path), pixels), expected)
    assert torch.equal(restored(relative, pixels), expected)


def test_the_header_names_the_parts(tmp_path):
    save_model(restorer(), tmp_path / "x.safetensors", {})
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        header, keys = file.metadata(), list(file.keys())
    assert json.loads(header["parts"]) == ["grid", "conditioner", "denoiser"]
    assert {key.split(".")[0] for key in keys} == {"grid", "conditioner", "denoiser"}


def test_every_family_has_its_name_its_class_and_one_way_to_be_opened():
    networks = [restorer(), official(), weather()]
    assert {family_of(network).name for network in networks} == {family.name for family in FAMILIES}
    for name in ("name", "title", "network", "signature"):
        assert len({getattr(family, name) for family in FAMILIES}) == len(FAMILIES), name
    assert all((family.load is None) != (family.build is None) for family in FAMILIES)
    with pytest.raises(TypeError, match="Linear restores no pictures; give what load_restorer returns"):
        family_of(torch.nn.Linear(1, 1))


def test_memory_grows_with_what_is_run_at_once():
    for network in (restorer(), official(), weather()):
        few, many = (
            family_of(network).memory(network, settings_for(network, tile=tile, tile_batch=batch, patch_batch=batch), 4096, 4096)
            for tile, batch in ((128, 1), (512, 4))
        )
        assert 0 < few < many


@pytest.mark.parametrize(
    "header, said",
    [
        ("estimator", "an AdaQual assessor of the second generation, but a restorer of the second generation"),
        ("denoiser", "an AdaQual restorer of the first generation, but a restorer of the second generation"),
        ("finish", "an AdaQual finish of the first generation, but a restorer of the second generation"),
    ],
)
def test_another_kind_of_file_is_refused(tmp_path, header, said):
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.ones(1)}, path, {"adaqual": header, "config": "{}"})
    with pytest.raises(CheckpointError, match=f"x.safetensors: {said} is needed here; choose another file"):
        load_restorer(path)


def test_an_assessor_of_the_first_generation_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.ones(1)}, path, {"adaqual": "assessor", "config": "{}"})
    with pytest.raises(CheckpointError, match="an AdaQual assessor of the first generation, but an AdaQual assessor of"):
        open_assessor(path)


def test_the_prompt_of_one_picture_is_that_of_the_batch():
    pixels = picture(40, 50, batch=3)
    prompt = prompt_for(pixels, torch.linspace(0.1, 1, 3).view(3, 1, 1).expand(3, 40, 50))
    for i in range(3):
        one, alone = prompt.index(i), build_prompt(pixels[i : i + 1], prompt.quality.index(i))
        for name in ("severity", "kinds", "length", "restore_mask", "statistics"):
            assert torch.allclose(getattr(one, name), getattr(alone, name), atol=1e-4), name
        assert one.quality.batch == 1
