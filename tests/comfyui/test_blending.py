"""What the nodes that join versions of a picture promise while they run in a real ComfyUI."""

import shutil

import numpy as np
import pytest
from comfy_server import REPOSITORY, ServerError
from PIL import Image
from prompts import chain, node, picture, results, watch


def blended(server, name: str, severity: float, size: tuple[int, int]):
    prompt = {
        "load": node("LoadImage", image=name),
        "mask": node("SolidMask", value=severity, width=size[0], height=size[1]),
        "map": node("AdaQualMaskToQuality", mask=["mask", 0]),
        "larger": node("ImageScaleBy", image=["load", 0], upscale_method="nearest-exact", scale_by=2.0),
        "processed": node("ImageInvert", image=["larger", 0]),
        "blend": node(
            "AdaQualBlend", original=["load", 0], processed=["processed", 0], quality=["map", 0], preserve=4.5, levels=3
        ),
        "save": node("SaveImage", images=["blend", 0], filename_prefix=f"blend{severity}"),
    }
    return np.asarray(results(server, prompt, f"blend{severity}")[0], int)


def test_quality_blend_returns_the_original_where_it_is_good_at_the_processed_size(server):
    name = picture(server, "blend.png", (90, 61))
    good, bad = (blended(server, name, severity, (90, 61)) for severity in (0.0, 1.0))
    with Image.open(server.base / "input" / name) as before:
        pixels = np.asarray(before.convert("RGB"), int)
    assert good.shape == bad.shape == (122, 180, 3)
    assert np.abs(bad - (255 - pixels.repeat(2, 0).repeat(2, 1))).max() <= 1
    assert np.abs(good.reshape(61, 2, 90, 2, 3).mean((1, 3)) - pixels).mean() < 6
    with pytest.raises(ServerError, match="connect the map of the original"):
        blended(server, name, 0.5, (64, 61))


def test_best_per_region_leaves_the_noisy_version_out(server):
    shutil.copy(REPOSITORY / "pictures" / "example_clean.png", server.base / "input")
    prompt = {
        "load": node("LoadImage", image="example_clean.png"),
        "noisy": node("AdaQualDegrade", image=["load", 0], kind="noise", second_kind="none", severity=0.9, seed=1),
        "best": node("AdaQualBestPerRegion", image_1=["noisy", 0], image_2=["load", 0], levels=3),
        "save": node("SaveImage", images=["best", 0], filename_prefix="best"),
        "choice": node("MaskToImage", mask=["best", 1]),
        "saved_choice": node("SaveImage", images=["choice", 0], filename_prefix="choice"),
    }
    (best,) = results(server, prompt, "best")
    prompt["save"]["inputs"]["filename_prefix"] = "unused"
    prompt["saved_choice"]["inputs"]["filename_prefix"] = "which"
    (choice,) = results(server, prompt, "which")
    with Image.open(server.base / "input" / "example_clean.png") as clean:
        assert best.size == choice.size == clean.size
        assert np.abs(np.asarray(best, int) - np.asarray(clean.convert("RGB"), int)).mean() < 3
    assert np.asarray(choice).mean() > 200  # white: the second version


def test_a_map_of_another_picture_is_refused_before_the_processed_picture_is_made(server):
    prompt = chain(picture(server, "original.png", (120, 80)), seed=77) | {
        "other": node("SolidMask", value=0.5, width=64, height=90),
        "wrong": node("AdaQualMaskToQuality", mask=["other", 0]),
        "blend": node(
            "AdaQualBlend", original=["load", 0], processed=["sample", 0], quality=["wrong", 0], preserve=4.5, levels=3
        ),
    }
    prompt["save"]["inputs"]["images"] = ["blend", 0]
    ended, moved, _ = watch(server, prompt)
    assert ended == "execution_error" and moved == []


def test_what_vae_encode_cropped_comes_back_at_the_originals_size(server):
    name = picture(server, "cropped.png", (131, 97))
    prompt = {
        "load": node("LoadImage", image=name),
        "crop": node("ImageCrop", image=["load", 0], width=128, height=96, x=1, y=0),
        "map": node("AdaQualEstimateQuality", image=["load", 0]),
        "blend": node("AdaQualBlend", original=["load", 0], processed=["crop", 0], quality=["map", 0], preserve=4.5, levels=3),
        "save": node("SaveImage", images=["blend", 0], filename_prefix="uncropped"),
    }
    (found,) = results(server, prompt, "uncropped")
    with Image.open(server.base / "input" / name) as before:
        assert np.abs(np.asarray(found, int) - np.asarray(before.convert("RGB"), int)).max() <= 1
    prompt["scale"] = node("AdaQualScaleToMultiple", image=["load", 0], multiple=16)
    prompt["save"]["inputs"] |= {"images": ["scale", 0], "filename_prefix": "multiple"}
    (scaled,) = results(server, prompt, "multiple")
    assert scaled.size == (128, 96)
