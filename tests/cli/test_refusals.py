"""Files that the commands refuse: pictures, targets and models."""

import os
import shutil

import numpy as np
import pytest
import torch
from command_line import fails
from PIL import Image
from small import picture, restorer

from adaqual_core.imageio import write_picture
from adaqual_core.weight_files import save_model


@pytest.fixture
def odd_files(adaqual, tmp_path):
    """A folder of files that cannot be restored."""
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:3000])
    Image.fromarray(np.full((20, 20), np.nan, np.float32)).save("nan.tif")


@pytest.mark.parametrize(
    "name, message",
    [
        ("missing.png", "missing.png: no such file"),
        ("text.png", "text.png: not a picture"),
        ("cut.png", "cut.png: damaged or truncated"),
        ("nan.tif", "nan.tif: holds NaN"),
    ],
)
def test_pictures_that_cannot_be(adaqual, odd_files, name, message):
    fails(adaqual("restore", name, "b.png"), message)
    fails(adaqual("quality", name, "--map", "b.png"), message)
    fails(adaqual("degrade", name, "b.png", "--kinds", "haze"), message)
    assert not os.path.exists("b.png")


def test_an_empty_folder(adaqual, odd_files):
    fails(adaqual("restore", "empty", "out"), "empty: no pictures in this folder")
    fails(adaqual("quality", "empty"), "empty: no pictures in this folder")
    fails(adaqual("degrade", "empty", "b.png", "--kinds", "haze"), "empty: is a folder")
    assert not os.path.exists("b.png") and not os.path.exists("out")


@pytest.mark.parametrize(
    "source, target, message",
    [
        ("a.png", "b.xyz", "unknown kind of file '.xyz'; end the name in .png"),
        ("a.png", "file/b.png", "cannot be written into"),
        ("alpha.png", "b.jpg", "JPEG cannot hold the picture's alpha; write .png instead"),
        ("in", "file", "file: is a file; give a folder"),
        ("in", "in", "would replace an input"),
        ("a.png", "a.png", "would replace an input"),
        ("a.png", "in/../a.png", "would replace an input"),
    ],
)
def test_outputs_that_cannot_be(adaqual, tmp_path, source, target, message):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    write_picture(picture(20, 20, channels=4), "alpha.png")
    write_picture(picture(20, 20), "in/1.png")
    before = sorted(os.listdir(tmp_path))
    fails(adaqual("restore", source, target), message)
    if source != "in":
        fails(adaqual("degrade", source, target, "--kinds", "haze"), message)
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    "name, message",
    [
        ("missing.safetensors", "no such file"),
        ("cut.safetensors", "truncated"),
        ("a.png", "not a readable safetensors file"),
        (".", "no such file"),
    ],
)
def test_models_that_cannot_be(adaqual, weights, name, message):
    shutil.copy(weights / "model.safetensors", "cut.safetensors")
    with open("cut.safetensors", "r+b") as file:
        file.truncate(5000)
    good = ["--model", weights / "model.safetensors", "--assessor", weights / "assessor.safetensors"]
    fails(adaqual("restore", "a.png", "b.png", *good, "--model", name, models=False), message)
    fails(adaqual("restore", "a.png", "b.png", *good, "--assessor", name, models=False), message)
    fails(adaqual("quality", "a.png", "--assessor", name, models=False), message)
    assert not os.path.exists("b.png")


def test_an_assessor_is_no_restorer(adaqual, weights):
    swapped = ["--model", weights / "assessor.safetensors", "--assessor", weights / "assessor.safetensors"]
    message = "an AdaQual assessor of the second generation, but a restorer of"
    fails(adaqual("restore", "a.png", "b.png", *swapped, models=False), message)
    assert not os.path.exists("b.png")


def test_a_model_that_gives_nan_is_an_error(adaqual, weights):
    model = restorer()
    with torch.no_grad():
        model.denoiser.ending.weight.fill_(3e38)
    save_model(model, "huge.safetensors", {})
    options = ["--model", "huge.safetensors", "--assessor", weights / "assessor.safetensors"]
    fails(adaqual("restore", "a.png", "b.png", *options, models=False), "NaN or infinity at tile (0, 0)")
    assert not os.path.exists("b.png")


def test_evaluate_needs_partners(adaqual):
    write_picture(picture(24, 32), "clean/1.png")
    write_picture(picture(24, 32), "bad/2.png")
    fails(adaqual("evaluate", "--clean", "clean", "--degraded", "bad"), "no picture named 2")
