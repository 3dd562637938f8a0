"""``adaqual quality``, ``adaqual degrade`` and ``adaqual evaluate``."""

import os

import numpy as np
import pytest
import torch
from command_line import fails, last_object
from PIL import Image
from small import assessor, picture

from adaqual_core.damage import degrade
from adaqual_core.imageio import read_picture, write_picture
from adaqual_core.quality.bundled import estimate_quality
from adaqual_core.quality.heatmap import heatmap


def test_quality(adaqual, weights):
    status, out, err = adaqual("quality", "a.png", "--map", "map.png", "--heatmap", "heat.webp", "--json")
    assert status == 0 and err == ""
    report = last_object(out)
    quality = estimate_quality(assessor(), read_picture("a.png"))
    assert report["shape"] == [3, 5]
    for key, value in (("mean", quality.mean), ("min", quality.scores.min()), ("max", quality.scores.max())):
        assert report[key] == pytest.approx(float(value), abs=1e-3)
    with Image.open("map.png") as grey:
        assert grey.mode == "L" and grey.size == (70, 40)
        expected = (quality.resized(40, 70)[0, 0] - 1) / 4 * 255
        assert np.abs(np.asarray(grey) - expected.numpy()).max() <= 0.51
    assert read_picture("heat.webp").shape == heatmap(quality).shape


@pytest.mark.parametrize(
    "options, message",
    [
        (["--map", "map.jpg"], "end its name in .png"),
        (["--map", "a.png"], "would replace an input"),
        (["--map", "x.png", "--heatmap", "x.png"], "give two names"),
        (["--heatmap", "x.doc"], "unknown kind of file"),
    ],
)
def test_quality_outputs_that_cannot_be(adaqual, tmp_path, options, message):
    fails(adaqual("quality", "a.png", *options), message)
    assert os.listdir(tmp_path) == ["a.png"]


def test_degrade(adaqual):
    arguments = ("degrade", "a.png", "b.png", "--kinds", "rain, haze", "--severity", 0.6, "--seed", 1)
    status, out, err = adaqual(*arguments)
    assert status == 0 and err == "" and "rain, haze at severity 0.6" in out
    expected = degrade(read_picture("a.png")[0], ["haze", "rain"], 0.6, seed=1).picture
    assert (read_picture("b.png")[0] - expected).abs().max() <= 0.51 / 255
    write_picture(picture(20, 30, channels=4), "alpha.png")
    assert adaqual("degrade", "alpha.png", "c.png", "--kinds", "noise")[0] == 0
    assert torch.equal(read_picture("c.png")[:, 3], read_picture("alpha.png")[:, 3])


def test_evaluate(adaqual):
    for seed in range(2):
        clean = picture(24, 32, seed=seed)
        write_picture(clean, f"clean/{seed}.png")
        for kind in ("haze", "low"):
            write_picture(degrade(clean[0], [kind], 0.8, seed=seed).picture[None], f"bad/{kind}/{seed}.png")
    status, out, err = adaqual("evaluate", "--clean", "clean", "--degraded", "bad", "--json")
    assert status == 0 and err == ""
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["class", "haze", "low", "average"]
    report = last_object(out)
    assert list(report["classes"]) == ["haze", "low"] and report["average"]["pictures"] == 4
    for entry in (*report["classes"].values(), report["average"]):
        assert entry["psnr_gain"] == pytest.approx(entry["psnr_after"] - entry["psnr_before"])
        assert 1 <= entry["quality_before"] <= 5 and 1 <= entry["quality_after"] <= 5
    average = sum(report["classes"][kind]["psnr_after"] for kind in ("haze", "low")) / 2
    assert report["average"]["psnr_after"] == pytest.approx(average)
