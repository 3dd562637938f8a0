"""Published checkpoints in a real ComfyUI: chosen by the loader, sampled by the nodes, refused when they are damaged."""

import io
import os

import numpy as np
import pytest
import torch
from comfy_server import ServerError, fetch, images, run
from PIL import Image
from small import official, picture, prompt_for, save_lightning, weather

from adaqual_core.imageio import write_picture
from adaqual_core.sampling.restore import restore
from adaqual_core.sampling.settings import settings_for

PIXELS = picture(45, 70)


def node(class_type: str, /, **given) -> dict:
    return {"class_type": class_type, "inputs": given}


def sampled(server, model_name: str, loader: dict | None = None, **sampler) -> torch.Tensor:
    """The picture that the sampler node makes of PIXELS, all of it called damaged, [3, H, W]."""
    if not (server.base / "input" / "models.png").exists():
        write_picture(PIXELS, server.base / "input" / "models.png")
    settings = {"seed": 3, "steps": 0, "schedule": "auto", "eta": 0.0, "strength": 1.0, "tile": 512, "overlap": 64}
    prompt = {
        "load": node("LoadImage", image="models.png"),
        "mask": node("SolidMask", value=1.0, width=70, height=45),
        "map": node("AdaQualMaskToQuality", mask=["mask", 0]),
        "build": node(
            "AdaQualBuildPrompt", image=["load", 0], quality=["map", 0], gamma=1.0, min_length=1.0, max_length=16.0, preserve=4.5
        ),
        "model": node("AdaQualLoadModel", model_name=model_name, **loader or {}),
        "sample": node("AdaQualSampler", model=["model", 0], image=["load", 0], prompt=["build", 0], **settings | sampler),
        "save": node("SaveImage", images=["sample", 0], filename_prefix="models"),
    }
    (saved,) = images(run(server.address, prompt))
    found = np.asarray(Image.open(io.BytesIO(fetch(server.address, saved))).convert("RGB"), np.float32) / 255
    return torch.from_numpy(found).permute(2, 0, 1)


@pytest.mark.parametrize(
    "name, loader, model, sampler",
    [
        ("WeatherDiff64.pth.tar", {}, weather(), {}),
        ("WeatherDiff64.pth.tar", {}, weather(), {"steps": 3, "stride": 32, "patch_batch": 2, "schedule": "trailing"}),
        ("adaqual.ckpt", {}, official(), {}),
        ("adaqual.ckpt", {"mode": "as published"}, official(), {"eta": 0.5}),
        ("adaqual.ckpt", {"mode": "prompted"}, official("prompted"), {"schedule": "trailing", "strength": 0.5}),
    ],
)
def test_the_nodes_give_what_the_core_gives(server, name, loader, model, sampler):
    pixels = (PIXELS * 255).round() / 255
    expected = restore(model, pixels, prompt_for(pixels), settings_for(model, seed=3, **sampler)).picture[0]
    found = sampled(server, name, loader, **sampler)
    assert (found - expected).abs().max() <= 1.01 / 255
    assert (expected - pixels[0]).abs().max() > 0.01


def test_restore_image_takes_any_model(server):
    sampled(server, "adaqual.ckpt", steps=1)  # writes the picture
    prompt = {
        "load": node("LoadImage", image="models.png"),
        "model": node("AdaQualLoadModel", model_name="WeatherDiff64.pth.tar"),
        "restore": node("AdaQualRestore", image=["load", 0], strength=1.0, preserve=5.0, seed=0, steps=2, model=["model", 0]),
        "save": node("SaveImage", images=["restore", 0], filename_prefix="restored"),
    }
    (saved,) = images(run(server.address, prompt))
    assert Image.open(io.BytesIO(fetch(server.address, saved))).size == (70, 45)


class Malicious:
    def __reduce__(self):
        return os.system, ("touch code_was_run",)


def malicious(path):
    torch.save({"state_dict": official().state_dict(), "evil": Malicious()}, path)


def truncated(path):
    save_lightning(path)
    os.truncate(path, path.stat().st_size // 2)


def corrupt(path):
    save_lightning(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def mismatched(path):
    weights = official().state_dict()
    del weights["intro.bias"]
    torch.save(weights, path)


def half_written(path):
    weights = {key: value.clone() for key, value in official().state_dict().items()}
    weights["ups.0.0.weight"].zero_()  # as the end of a file whose place was reserved, but not all written
    torch.save(weights, path)


@pytest.mark.parametrize(
    "damage, message",
    [
        (malicious, "refused, because loading it would run code .posix.system."),
        (truncated, "not a readable checkpoint .*truncated"),
        (corrupt, "damaged .wrong checksum of"),
        (mismatched, "not a known model; nearest layout: AdaQual-Diff, official layout, but missing: intro.bias"),
        (half_written, "ups.0.0.weight holds nothing but zeros; the file is half-written"),
    ],
)
def test_damaged_files_are_refused_before_anything_runs(server, damage, message):
    path = server.base / "models" / "adaqual" / f"{damage.__name__}.ckpt"
    damage(path)
    with pytest.raises(ServerError, match=f"{path.name}: {message}") as found:
        sampled(server, path.name)
    assert "node model (AdaQualLoadModel)" in str(found.value)
    path.unlink()
