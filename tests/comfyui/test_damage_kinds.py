"""Damage Kinds, Set Damage and the factors by kind, in a real ComfyUI with small networks that know kinds of damage."""

import numpy as np
import pytest
import small
import torch
from comfy_server import ServerError, run
from PIL import Image
from prompts import node, picture, results

from adaqual_core.imageio import read_picture
from adaqual_core.kinds import KINDS
from adaqual_core.quality.bundled import estimate_quality
from adaqual_core.quality.heatmap import kinds_sheet
from adaqual_core.weight_files import save_model

SIZE = (210, 150)
LENGTH = {"gamma": 1.0, "min_length": 1.0, "max_length": 16.0, "preserve": 4.5}
SAMPLER = {"seed": 0, "steps": 1, "schedule": "auto", "eta": 0.0, "strength": 1.0, "tile": 512, "overlap": 64}


@pytest.fixture(scope="module", autouse=True)
def networks(server):
    """A small restorer and a small assessor in the server's model folders."""
    for folder, name, network in (("adaqual", "second", small.restorer()), ("adaqual_quality", "kinds", small.assessor())):
        path = server.base / "models" / folder / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_model(network, path, {})


def clean(server, name: str) -> dict:
    """A picture with a painted rectangle as its mask, and a map that calls all of it clean."""
    with Image.open(server.base / "input" / picture(server, name, SIZE)) as image:
        painted = image.convert("RGBA")
    hole = Image.new("L", SIZE, 255)
    hole.paste(0, (53, 37, 140, 91))  # transparent = painted
    painted.putalpha(hole)
    painted.save(server.base / "input" / name)
    return {
        "load": node("LoadImage", image=name),
        "empty": node("SolidMask", value=0.0, width=SIZE[0], height=SIZE[1]),
        "map": node("AdaQualMaskToQuality", mask=["empty", 0]),
        "say": node("AdaQualSetDamage", quality=["map", 0], kind="haze", severity=0.7, mask=["load", 1]),
    }


def restored(server, prompt: dict, prefix: str, **factors: float) -> np.ndarray:
    more = {
        "build": node("AdaQualBuildPrompt", image=["load", 0], quality=["say", 0], **LENGTH, **factors),
        "model": node("AdaQualLoadModel", model_name="second.safetensors"),
        "sample": node("AdaQualSampler", model=["model", 0], image=["load", 0], prompt=["build", 0], **SAMPLER),
        "save": node("SaveImage", images=["sample", 0], filename_prefix=prefix),
    }
    (found,) = results(server, prompt | more, prefix)
    return np.asarray(found.convert("RGB"), int)


def test_what_is_set_is_restored_to_the_pixel_and_a_kept_kind_stays(server):
    prompt = clean(server, "said.png")
    with Image.open(server.base / "input" / "said.png") as image:
        before = np.asarray(image.convert("RGB"), int)
    changed = np.abs(restored(server, prompt, "said") - before).max(-1)
    inside = np.zeros(before.shape[:2], bool)
    inside[37:91, 53:140] = True
    assert changed[~inside].max() == 0 and changed[inside].mean() > 2
    assert np.array_equal(restored(server, prompt, "kept", haze=0.0), before)
    assert np.abs(restored(server, prompt, "rain_kept", rain=0.0) - before).max(-1)[inside].mean() > 2


def test_kinds_come_as_masks_and_as_a_sheet(server):
    name = picture(server, "kinds.png", SIZE)
    prompt = {
        "load": node("LoadImage", image=name),
        "assessor": node("AdaQualLoadAssessor", assessor_name="kinds.safetensors"),
        "map": node("AdaQualEstimateQuality", image=["load", 0], assessor=["assessor", 0]),
        "kinds": node("AdaQualDamageKinds", quality=["map", 0]),
        "sheet": node("SaveImage", images=["kinds", len(KINDS)], filename_prefix="sheet"),
    }
    quality = estimate_quality(small.assessor(), read_picture(server.base / "input" / name))
    (sheet,) = results(server, prompt, "sheet")
    expected = kinds_sheet(quality)[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(np.asarray(sheet.convert("RGB"), int) - expected).max() <= 2
    for index in (0, 6):
        prompt["image"] = node("MaskToImage", mask=["kinds", index])
        prompt["save"] = node("SaveImage", images=["image", 0], filename_prefix=f"kind{index}_")
        (mask,) = results(server, prompt, f"kind{index}_")
        expected = quality.kind_pixels(KINDS[index])[0, 0] * 255
        found = torch.from_numpy(np.asarray(mask.convert("L"), np.float32).copy())
        assert float((found - expected).abs().max()) <= 1.5


def test_a_map_without_kinds_is_refused_with_the_remedy(server):
    prompt = clean(server, "nameless.png")
    prompt |= {
        "kinds": node("AdaQualDamageKinds", quality=["map", 0]),
        "look": node("PreviewImage", images=["kinds", len(KINDS)]),
    }
    with pytest.raises(ServerError, match="names no kinds of damage.*use the bundled assessor's map"):
        run(server.address, prompt)
