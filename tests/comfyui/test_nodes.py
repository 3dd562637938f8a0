"""The nodes' interface, which saved workflows depend on, and what they promise while they run in a real ComfyUI."""

import json
import shutil
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
from comfy_server import PACK, REPOSITORY, ServerError, comfyui_folder, get_json, run
from make_texts import english, help_page, lacking
from PIL import Image
from prompts import node, picture, results, watch

SHIPPED = "adaqual nano (shipped)"
GROUPS = ("required", "optional")

# For ever: a saved workflow stores widget values by their order. New inputs and outputs are appended to these, never
# inserted; nothing is renamed, retyped or removed.
INTERFACE = {
    "AdaQualRestore": (
        "image:IMAGE strength:FLOAT preserve:FLOAT seed:INT steps:INT",
        "model:ADAQUAL_MODEL assessor:ADAQUAL_ASSESSOR temporal:INT",
        "image:IMAGE heatmap:IMAGE quality_before:FLOAT",
    ),
    "AdaQualLoadModel": ("model_name:COMBO", "mode:COMBO", "model:ADAQUAL_MODEL"),
    "AdaQualLoadAssessor": ("assessor_name:COMBO", "weights:COMBO", "assessor:ADAQUAL_ASSESSOR"),
    "AdaQualEstimateQuality": (
        "image:IMAGE",
        "assessor:ADAQUAL_ASSESSOR temporal:INT",
        "quality:ADAQUAL_QUALITY severity:MASK heatmap:IMAGE mean_quality:FLOAT",
    ),
    "AdaQualEditQuality": (
        "quality:ADAQUAL_QUALITY override_quality:FLOAT minimum:FLOAT maximum:FLOAT gain:FLOAT blur:FLOAT",
        "override:MASK kind:COMBO",
        "quality:ADAQUAL_QUALITY heatmap:IMAGE",
    ),
    "AdaQualQualityToMask": ("quality:ADAQUAL_QUALITY", "", "severity:MASK"),
    "AdaQualMaskToQuality": ("mask:MASK", "image:IMAGE", "quality:ADAQUAL_QUALITY"),
    "AdaQualBuildPrompt": (
        "image:IMAGE quality:ADAQUAL_QUALITY gamma:FLOAT min_length:FLOAT max_length:FLOAT preserve:FLOAT",
        "low:FLOAT rain:FLOAT snow:FLOAT haze:FLOAT raindrops:FLOAT blur:FLOAT noise:FLOAT jpeg:FLOAT temporal:INT",
        "prompt:ADAQUAL_PROMPT restored_region:MASK",
    ),
    "AdaQualSampler": (
        "model:ADAQUAL_MODEL image:IMAGE prompt:ADAQUAL_PROMPT seed:INT steps:INT schedule:COMBO eta:FLOAT "
        "strength:FLOAT tile:INT overlap:INT",
        "stride:INT patch_batch:INT",
        "image:IMAGE",
    ),
    "AdaQualDegrade": (
        "image:IMAGE kind:COMBO second_kind:COMBO severity:FLOAT seed:INT",
        "mask:MASK",
        "image:IMAGE severity:MASK",
    ),
    "AdaQualAdaptiveConditioning": (
        "clip:CLIP quality:ADAQUAL_QUALITY bands:INT softness:FLOAT global_text:STRING caption:STRING "
        "preserve_text:STRING directives:STRING strength_good:FLOAT strength_bad:FLOAT",
        "samples:LATENT",
        "conditioning:CONDITIONING masks:MASK prompt:STRING",
    ),
    "AdaQualGuider": (
        "model:MODEL quality:ADAQUAL_QUALITY positive:CONDITIONING low:FLOAT high:FLOAT gamma:FLOAT "
        "preservation:FLOAT preserve:FLOAT",
        "negative:CONDITIONING",
        "guider:GUIDER",
    ),
    "AdaQualDenoiseMask": (
        "samples:LATENT quality:ADAQUAL_QUALITY low:FLOAT high:FLOAT gamma:FLOAT",
        "",
        "latent:LATENT",
    ),
    "AdaQualBlend": (
        "original:IMAGE processed:IMAGE quality:ADAQUAL_QUALITY preserve:FLOAT levels:INT",
        "",
        "image:IMAGE",
    ),
    "AdaQualBestPerRegion": (
        "image_1:IMAGE levels:INT",
        "image_2:IMAGE image_3:IMAGE image_4:IMAGE assessor:ADAQUAL_ASSESSOR",
        "image:IMAGE choice:MASK",
    ),
    "AdaQualScoreAndSort": (
        "image:IMAGE threshold:FLOAT order:COMBO",
        "assessor:ADAQUAL_ASSESSOR",
        "kept:IMAGE rejected:IMAGE kept_scores:FLOAT rejected_scores:FLOAT report:STRING",
    ),
    "AdaQualDamageKinds": (
        "quality:ADAQUAL_QUALITY",
        "",
        "low:MASK rain:MASK snow:MASK haze:MASK raindrops:MASK blur:MASK noise:MASK jpeg:MASK sheet:IMAGE",
    ),
    "AdaQualSetDamage": ("quality:ADAQUAL_QUALITY kind:COMBO severity:FLOAT", "mask:MASK", "quality:ADAQUAL_QUALITY"),
    "AdaQualRestoreVideo": (
        "video:VIDEO strength:FLOAT preserve:FLOAT seed:INT steps:INT",
        "model:ADAQUAL_MODEL assessor:ADAQUAL_ASSESSOR temporal:INT",
        "video:VIDEO quality_before:FLOAT",
    ),
    "AdaQualScaleToMultiple": ("image:IMAGE multiple:INT", "", "image:IMAGE"),
}


def inputs(info: dict, group: str) -> list[str]:
    """The inputs of a group as "name:TYPE", in order."""
    return [f"{name}:{info['input'][group][name][0]}" for name in info["input_order"].get(group, [])]


def chain(name: str, amount: int = 1, mask: float = 1.0, **sampler) -> dict:
    """Load a picture, call all of it damaged, and restore it with the separate nodes."""
    settings = {"seed": 0, "steps": 2, "schedule": "trailing", "eta": 0.0, "strength": 1.0, "tile": 512, "overlap": 64}
    length = {"gamma": 1.0, "min_length": 1.0, "max_length": 16.0, "preserve": 5.0}
    return {
        "load": node("LoadImage", image=name),
        "batch": node("RepeatImageBatch", image=["load", 0], amount=amount),
        "mask": node("SolidMask", value=mask, width=64, height=64),
        "map": node("AdaQualMaskToQuality", mask=["mask", 0], image=["batch", 0]),
        "build": node("AdaQualBuildPrompt", image=["batch", 0], quality=["map", 0], **length),
        "model": node("AdaQualLoadModel", model_name=SHIPPED),
        "sample": node("AdaQualSampler", model=["model", 0], image=["batch", 0], prompt=["build", 0], **settings | sampler),
        "save": node("SaveImage", images=["sample", 0], filename_prefix="chain"),
    }


def test_the_interface_is_frozen(object_info):
    for name, (required, optional, outputs) in INTERFACE.items():
        info = object_info[name]
        for group, frozen in zip(GROUPS, (required.split(), optional.split()), strict=True):
            assert inputs(info, group)[: len(frozen)] == frozen, (name, group)
        now = [f"{label}:{kind}" for label, kind in zip(info["output_name"], info["output"], strict=True)]
        assert now[: len(outputs.split())] == outputs.split(), name


def test_every_node_is_frozen_documented_and_translated(server, object_info):
    ours = {name: info for name, info in object_info.items() if info["python_module"].endswith(PACK)}
    assert set(ours) == set(INTERFACE)
    texts = {path.parent.name: json.loads(path.read_text("utf-8")) for path in REPOSITORY.glob("locales/*/nodeDefs.json")}
    assert texts["en"] == english(ours, texts["en"]), "locales/en is out of date: run scripts/make_texts.py"
    assert not lacking(texts["en"], texts["de"])
    served = get_json(server.address, "/i18n")
    for name, info in ours.items():
        for language in texts:
            path = f"{name}.md" if language == "en" else f"{name}/{language}.md"
            with urllib.request.urlopen(f"{server.address}/extensions/{PACK}/docs/{path}", timeout=60) as answer:
                page = answer.read().decode()
            current = help_page(info, page, texts[language][name], language)
            assert page == current, f"web/docs/{path} is out of date: run scripts/make_texts.py"
            assert served[language]["nodeDefs"][name] == texts[language][name]


def test_rarely_used_inputs_of_the_sampler_are_marked_where_comfyui_knows_how(server, object_info):
    version = get_json(server.address, "/system_stats")["system"]["comfyui_version"]
    given = [one for group in GROUPS for one in object_info["AdaQualSampler"]["input"].get(group, {}).items()]
    marked = {name for name, (_, *options) in given if options and options[0].get("advanced")}
    knows = tuple(map(int, version.split(".")[:2])) >= (0, 10)
    assert marked == ({"schedule", "eta", "overlap", "stride", "patch_batch"} if knows else set())


def test_the_template_browser_finds_workflow_and_picture(server):
    for path in (REPOSITORY / "workflows").glob("*.*"):
        with urllib.request.urlopen(f"{server.address}/api/workflow_templates/{PACK}/{path.name}", timeout=60) as answer:
            assert answer.read() == path.read_bytes()


def test_a_batch_comes_back_whole_and_each_picture_as_if_alone(server):
    name = picture(server, "batch.png", (211, 123))
    (alone,) = results(server, chain(name), "chain")
    three = results(server, chain(name, amount=3), "chain")
    assert [one.size for one in three] == [(211, 123)] * 3
    assert all(np.array_equal(np.asarray(one), np.asarray(alone)) for one in three)


def test_tiles_do_not_show(server):
    name = picture(server, "tiles.png", (250, 140))
    whole, tiled = (results(server, chain(name, tile=tile, steps=1), "chain")[0] for tile in (1024, 128))
    assert np.abs(np.asarray(whole, int) - np.asarray(tiled, int)).max() <= 1


def test_nothing_damaged_means_nothing_changed(server):
    name = picture(server, "clean.png", (130, 70))
    (same,) = results(server, chain(name, mask=0.0), "chain")
    with Image.open(server.base / "input" / name) as before:
        assert np.array_equal(np.asarray(same), np.asarray(before))


def test_alpha_is_carried_through_every_node_that_gives_pictures(server):
    name = picture(server, "rgba.png", (90, 61))
    prompt = {
        "load": node("LoadImage", image=name),
        "mask": node("SolidMask", value=0.25, width=90, height=61),
        "rgba": node("JoinImageWithAlpha", image=["load", 0], alpha=["mask", 0]),
        "degrade": node("AdaQualDegrade", image=["rgba", 0], kind="noise", second_kind="blur", severity=0.5, seed=1),
        "restore": node("AdaQualRestore", image=["degrade", 0], strength=1.0, preserve=5.0, seed=0, steps=1),
        "save": node("SaveImage", images=["restore", 0], filename_prefix="rgba"),
    }
    (saved,) = results(server, prompt, "rgba")
    assert saved.mode == "RGBA" and saved.size == (90, 61)
    assert np.unique(np.asarray(saved)[..., 3]).tolist() == [191]


def test_colours_that_a_files_alpha_hides_change_nothing_and_come_back(server):
    rng, seen = np.random.default_rng(0), {}
    pixels = np.asarray(Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((96, 64), Image.BICUBIC)).copy()
    hidden = np.zeros((64, 96), bool)
    hidden[:24, :40] = hidden[40:44, 60:90] = True
    for colour in (0, 255):
        pixels[hidden] = colour
        file = np.dstack((pixels, np.where(hidden, 0, 255).astype(np.uint8)))
        Image.fromarray(file).save(server.base / "input" / f"cutout{colour}.png")
        prompt = {
            "load": node("LoadImage", image=f"cutout{colour}.png"),
            "rgba": node("JoinImageWithAlpha", image=["load", 0], alpha=["load", 1]),
            "sort": node("AdaQualScoreAndSort", image=["rgba", 0], threshold=1.0, order="as given"),
            "sample": node("AdaQualRestore", image=["sort", 0], strength=1.0, preserve=5.0, seed=0, steps=1),
            "save": node("SaveImage", images=["sample", 0], filename_prefix=f"cutout{colour}"),
            "score": node("PreviewAny", source=["sample", 2]),
        }
        outputs = run(server.address, prompt)
        (saved,) = (server.base / "output" / one["filename"] for one in outputs["save"]["images"])
        found = np.asarray(Image.open(saved))
        assert np.array_equal(found[hidden], file[hidden]) and not np.array_equal(found, file)
        seen[colour] = found[~hidden].tobytes(), outputs["score"]["text"], outputs["sort"]["text"]
    assert seen[0] == seen[255]


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


def test_an_unpainted_mask_edits_nothing(server):
    name = picture(server, "unpainted.png", (160, 100))
    edit = {"override_quality": 1.0, "minimum": 1.0, "maximum": 5.0, "gain": 1.0, "blur": 0.0}
    prompt = {
        "load": node("LoadImage", image=name),
        "map": node("AdaQualEstimateQuality", image=["load", 0]),
        "edit": node("AdaQualEditQuality", quality=["map", 0], override=["load", 1], **edit),
        "before": node("SaveImage", images=["map", 2], filename_prefix="unpainted_before"),
        "after": node("SaveImage", images=["edit", 1], filename_prefix="unpainted_after"),
    }
    (before,) = results(server, prompt, "unpainted_before")
    prompt["after"]["inputs"]["filename_prefix"] = "unpainted_again"  # the rest comes from ComfyUI's cache
    (after,) = results(server, prompt, "unpainted_again")
    assert np.array_equal(np.asarray(before), np.asarray(after))


def test_a_missing_model_is_refused_with_folder_and_remedy(server):
    prompt = chain(picture(server, "any.png", (64, 64)))
    prompt["model"]["inputs"]["model_name"] = "gone.safetensors"
    with pytest.raises(ServerError, match=r"gone\.safetensors is not in .*adaqual; put the file there"):
        run(server.address, prompt)


def test_a_model_folder_is_searched_and_a_wrong_file_explained(server):
    folder = server.base / "models" / "adaqual"
    folder.mkdir(exist_ok=True)
    (folder / "broken.safetensors").write_bytes(b"not a model")
    (folder / "notes.txt").write_text("not offered")
    offered = get_json(server.address, "/object_info/AdaQualLoadModel")["AdaQualLoadModel"]
    offered = offered["input"]["required"]["model_name"][1]["options"]
    assert offered[0] == SHIPPED and {"broken.safetensors", "adaqual.ckpt", "WeatherDiff64.pth.tar"} < set(offered)
    assert "notes.txt" not in offered
    prompt = chain(picture(server, "any.png", (64, 64)))
    prompt["model"]["inputs"]["model_name"] = "broken.safetensors"
    with pytest.raises(ServerError, match=r"broken\.safetensors: not a readable safetensors file"):
        run(server.address, prompt)


@pytest.mark.parametrize(
    ("name", "choice"),
    [
        ("model", "mode"),
        ("sample", "schedule"),
        ("degrade", "kind"),
        ("degrade", "second_kind"),
        ("sort", "order"),
        ("assessor", "weights"),
    ],
)
def test_an_unknown_choice_is_refused_before_anything_runs(server, name, choice):
    restoring = chain(picture(server, "any.png", (64, 64)))
    sorting = {
        "load": restoring["load"],
        "degrade": node("AdaQualDegrade", image=["load", 0], kind="haze", second_kind="none", severity=0.5, seed=0),
        "assessor": node("AdaQualLoadAssessor", assessor_name="embedded (shipped)"),
        "sort": node("AdaQualScoreAndSort", image=["degrade", 0], threshold=3.0, order="as given", assessor=["assessor", 0]),
    }
    prompt = restoring if name in restoring else sorting
    prompt[name]["inputs"][choice] = "no such thing"
    with pytest.raises(ServerError, match=rf"refused the prompt(.|\n)*{choice}: 'no such thing' is not offered; choose one of"):
        run(server.address, prompt)


def test_a_graph_may_end_at_a_map_or_at_scores(server):
    prompt = {
        "load": node("LoadImage", image=picture(server, "ending.png", (96, 64))),
        "map": node("AdaQualEstimateQuality", image=["load", 0]),
        "sort": node("AdaQualScoreAndSort", image=["load", 0], threshold=3.0, order="as given"),
    }
    outputs = run(server.address, prompt)
    assert set(outputs) == {"map", "sort"} and outputs["map"]["images"] and "picture 1: " in outputs["sort"]["text"][0]
    edit = {"override_quality": 1.0, "minimum": 1.0, "maximum": 5.0, "gain": 1.0, "blur": 0.0}
    del prompt["sort"]
    prompt["edit"] = node("AdaQualEditQuality", quality=["map", 0], **edit)
    assert run(server.address, prompt)["edit"]["images"]


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


def test_another_pictures_prompt_is_refused(server):
    prompt = chain(picture(server, "any.png", (64, 64)))
    prompt["batch2"] = node("RepeatImageBatch", image=["load", 0], amount=2)
    prompt["sample"]["inputs"]["image"] = ["batch2", 0]
    with pytest.raises(ServerError, match="built for 1 pictures, but image holds 2"):
        run(server.address, prompt)


def test_progress_moves_and_previews_show_the_whole_picture(server):
    prompt = chain(picture(server, "preview.png", (192, 128)), amount=2, tile=64, steps=3)
    ended, moved, previews = watch(server, prompt)
    assert ended == "execution_success"
    assert moved == sorted(moved) and moved[-1] == 1
    assert moved[0] < 0.2 and len(set(moved)) >= 3  # newer servers leave out some of what comes within 0.1 s
    assert set(previews) == {(192, 128)}


def test_one_bar_counts_judging_and_restoring(server):
    name = picture(server, "one_bar.png", (1100, 64))  # two tiles to judge, more to restore
    prompt = {
        "load": node("LoadImage", image=name),
        "batch": node("RepeatImageBatch", image=["load", 0], amount=2),
        "sample": node("AdaQualRestore", image=["batch", 0], strength=1.0, preserve=5.0, seed=0, steps=2),
        "save": node("PreviewImage", images=["sample", 0]),
    }
    ended, moved, previews = watch(server, prompt)
    assert ended == "execution_success" and moved == sorted(moved) and moved[-1] == 1
    judging = [place for place in moved if place <= 1 / 8]
    # two tiles of each picture; newer servers leave out some of what comes within 0.1 s
    assert judging[0] == 1 / 32 and set(judging) <= {1 / 32, 1 / 16, 3 / 32, 1 / 8} and len(set(moved) - set(judging)) >= 2
    assert previews and moved.count(1) <= 2


def test_cancel_ends_the_run_at_once(server):
    prompt = chain(picture(server, "cancel.png", (512, 512)), amount=4, tile=64, seed=2)
    ended, moved, _ = watch(server, prompt, cancel_after=3)
    assert ended == "execution_interrupted" and len(moved) < 12


UNDER_MANUAL_CAST = """
import sys
sys.argv = ["test", "--cpu"]
import comfy.options
comfy.options.enable_args_parsing()
import comfy.ops, torch
from adaqual_core.quality.bundled import AssessorNet
from adaqual_core.networks.denoiser import Denoiser
from adaqual_core.networks.adaqual_diff import OfficialConfig, OfficialNet
from adaqual_core.image_statistics import STATISTICS
from adaqual_core.networks.weather_diffusion import WeatherConfig, WeatherNet
cells, pixels = torch.rand(1, 1, 4, 4), torch.rand(1, 3, 64, 64)
given = [pixels, pixels, torch.tensor([999]), torch.tensor([0.1]), cells, 16 * cells, torch.rand(1, STATISTICS)]
official = OfficialConfig(16, (1, 1, 1, 1), 1, (1, 1, 1, 1), 8, projections=(256,))
patches = [torch.rand(2, 6, 16, 16), torch.tensor([500])]
for network, sizes, inputs in (
    (Denoiser, [], given), (AssessorNet, [], [pixels]), (OfficialNet, [official, "prompted"], given),
    (WeatherNet, [WeatherConfig(32, (32, 64), 1, (False, True), 64, 16)], patches),
):
    torch.manual_seed(0)
    plain = network(*sizes)
    for stored, tolerance in ((torch.float32, 0), (torch.float16, 0.01), (torch.bfloat16, 0.05)):
        cast = network(*(sizes or [plain.config]), operations=comfy.ops.manual_cast)
        cast.load_state_dict(plain.state_dict())
        cast.to(stored)
        with torch.inference_mode():
            wanted, found = plain(*inputs), cast(*inputs)
            assert found.dtype == torch.float32, stored
            assert (wanted - found).abs().max() <= tolerance * wanted.abs().max(), stored
            assert cast(*(x.to("meta") for x in inputs)).device.type == "meta", stored
"""


def test_networks_follow_their_input_under_manual_cast():
    """Weights of any type may stay on the CPU: every layer computes where its input is, in its type (low VRAM)."""
    command = [sys.executable, "-c", UNDER_MANUAL_CAST]
    done = subprocess.run(command, cwd=comfyui_folder(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
