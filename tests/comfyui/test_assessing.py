"""Every kind of assessor in a real ComfyUI, on small random weights, and the node that sorts by them."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from comfy_server import ServerError, comfyui_folder, get_json, run
from PIL import Image
from prompts import node, picture, results, watch
from small import assessor
from small_clip import write_clip
from small_deqa import network, write

from adaqual_core.imageio import read_picture
from adaqual_core.quality.assess import assess, open_assessor, score
from adaqual_core.quality.heatmap import heatmap
from adaqual_core.weight_files import save_model

SHIPPED = "embedded (shipped)"
KINDS = ("own.safetensors", "clip", "nested/deqa")


@pytest.fixture(scope="module")
def folder(server) -> Path:
    """models/adaqual_quality of the server with one assessor of each kind."""
    folder = server.base / "models" / "adaqual_quality"
    folder.mkdir(exist_ok=True)
    save_model(assessor(), folder / "own.safetensors", {})
    write_clip(folder / "clip")
    write(folder / "nested" / "deqa", network())
    return folder


def estimate(name: str, kind: str, amount: int = 1) -> dict:
    return {
        "load": node("LoadImage", image=name),
        "batch": node("RepeatImageBatch", image=["load", 0], amount=amount),
        "assessor": node("AdaQualLoadAssessor", assessor_name=kind),
        "sample": node("AdaQualEstimateQuality", image=["batch", 0], assessor=["assessor", 0]),
        "save": node("SaveImage", images=["sample", 2], filename_prefix="heat"),
        "mean": node("PreviewAny", source=["sample", 3]),
    }


def test_folders_are_offered_as_one_model_each(server, folder):
    offered = get_json(server.address, "/object_info/AdaQualLoadAssessor")["AdaQualLoadAssessor"]
    assert offered["input"]["required"]["assessor_name"][1]["options"] == [SHIPPED, *sorted(KINDS)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_map_is_the_cores(server, folder, kind):
    name = picture(server, "judged.png", (100, 70))
    (saved,) = results(server, estimate(name, kind), "heat")
    quality = assess(open_assessor(folder / kind), read_picture(server.base / "input" / name))
    expected = heatmap(quality)[0].movedim(0, -1).numpy() * 255
    assert np.abs(np.asarray(saved, float) - expected).max() <= 1
    assert quality.scores.std() > 1e-3


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_second_run_reads_the_scores_from_disk(server, folder, kind):
    name = picture(server, f"cached_{kind[:4]}.png", (90, 60))
    entries = server.base / "user" / "adaqual" / "scores"
    before = set(entries.glob("*")) if entries.exists() else set()
    first = run(server.address, estimate(name, kind))["mean"]["text"]
    assert len(set(entries.glob("*")) - before) == 1
    ended, moved, _ = watch(server, estimate(name, kind, amount=2))  # another graph for ComfyUI's own cache
    assert ended == "execution_success" and moved == [0.5, 1]
    again = run(server.address, estimate(name, kind, amount=3))["mean"]["text"]
    assert float(again[0]) == pytest.approx(float(first[0]), abs=1e-5)


def test_progress_moves_by_tiles_and_cancel_ends_the_run(server, folder):
    ended, moved, _ = watch(server, estimate(picture(server, "tiles1.png", (150, 120), seed=1), KINDS[2]))
    assert ended == "execution_success" and moved == sorted(moved) and moved[-1] == 1
    assert moved[0] < 0.1  # newer servers pass on the first and last of what comes within 0.1 s
    ended, moved, _ = watch(server, estimate(picture(server, "tiles2.png", (600, 600), seed=2), KINDS[2]), cancel_after=3)
    assert ended == "execution_interrupted" and moved[-1] < 0.9


def test_restore_image_takes_any_of_them(server, folder):
    name = picture(server, "restored.png", (80, 70))
    prompt = {
        "load": node("LoadImage", image=name),
        "assessor": node("AdaQualLoadAssessor", assessor_name=KINDS[2]),
        "restore": node(
            "AdaQualRestore", image=["load", 0], strength=1.0, preserve=5.0, seed=0, steps=1, assessor=["assessor", 0]
        ),
        "save": node("SaveImage", images=["restore", 0], filename_prefix="by_deqa"),
        "mean": node("PreviewAny", source=["restore", 2]),
    }
    found = float(run(server.address, prompt)["mean"]["text"][0])
    quality = assess(open_assessor(folder / KINDS[2]), read_picture(server.base / "input" / name))
    assert found == pytest.approx(float(quality.mean), abs=1e-4)


def test_a_missing_shard_is_explained(server, folder):
    broken = write(folder / "broken", network())
    shard = sorted(broken.glob("*.safetensors"))[0]
    shard.unlink()
    try:
        with pytest.raises(ServerError, match=rf"{shard.name}: missing shard"):
            run(server.address, estimate(picture(server, "any.png", (64, 64)), "broken"))
    finally:
        for file in broken.iterdir():
            file.unlink()
        broken.rmdir()


def test_packed_weights_are_for_deqa_and_need_their_package(server, folder):
    """Where bitsandbytes is installed DeQA-Score's map is the core's, else the error names it; others refuse the choice."""
    name = picture(server, "packed.png", (60, 50))
    prompt = estimate(name, KINDS[2])
    prompt["assessor"]["inputs"]["weights"] = "8 bit"
    if find_spec("bitsandbytes"):
        quality = assess(open_assessor(folder / KINDS[2], bits=8), read_picture(server.base / "input" / name))
        assert float(run(server.address, prompt)["mean"]["text"][0]) == pytest.approx(float(quality.mean), abs=1e-3)
    else:
        with pytest.raises(ServerError, match="pip install bitsandbytes"):
            run(server.address, prompt)
    prompt["assessor"]["inputs"]["assessor_name"] = SHIPPED
    with pytest.raises(ServerError, match="only DeQA-Score can have its weights in 8 bits"):
        run(server.address, prompt)


# ---- sorting


def sorting(names: list[str], kind: str, threshold: float, order: str) -> dict:
    prompt = {f"load{i}": node("LoadImage", image=name) for i, name in enumerate(names)}
    last = ["load0", 0]
    for i in range(1, len(names)):
        prompt[f"join{i}"] = node("ImageBatch", image1=last, image2=[f"load{i}", 0])
        last = [f"join{i}", 0]
    return prompt | {
        "assessor": node("AdaQualLoadAssessor", assessor_name=kind),
        "sort": node("AdaQualScoreAndSort", image=last, threshold=threshold, order=order, assessor=["assessor", 0]),
        "kept": node("SaveImage", images=["sort", 0], filename_prefix="kept"),
        "rejected": node("SaveImage", images=["sort", 1], filename_prefix="rejected"),
        "kept_scores": node("PreviewAny", source=["sort", 2]),
        "rejected_scores": node("PreviewAny", source=["sort", 3]),
        "report": node("PreviewAny", source=["sort", 4]),
    }


@pytest.fixture(scope="module")
def album(server, folder) -> tuple[list[str], dict[str, list[float]]]:
    """Four pictures in the server's input folder, and their scores by each kind of assessor."""
    names = [picture(server, f"album{i}.png", (60, 50), seed=20 + i) for i in range(4)]
    pictures = torch.cat([read_picture(server.base / "input" / name) for name in names])
    return names, {kind: score(open_assessor(folder / kind), pictures).tolist() for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ["best first", "worst first", "as given"])
def test_pictures_are_scored_sorted_and_parted(server, album, kind, order):
    names, scores = album[0], album[1][kind]
    threshold = sorted(scores)[1] + 1e-4  # two of the four are worse, or this close
    outputs = run(server.address, sorting(names, kind, threshold, order))
    keys = {"best first": lambda i: -scores[i], "worst first": lambda i: scores[i], "as given": lambda i: i}
    expected = sorted(range(4), key=keys[order])
    for output, wanted in (("kept", True), ("rejected", False)):
        group = [i for i in expected if (scores[i] >= threshold) == wanted]
        told = [float(value) for value in outputs[f"{output}_scores"]["text"]]
        assert told == pytest.approx([scores[i] for i in group], abs=2e-4) and len(told) == 2
        saved = results_of(server, outputs[output])
        for found, index in zip(saved, group, strict=True):
            with Image.open(server.base / "input" / names[index]) as original:
                assert np.array_equal(np.asarray(found), np.asarray(original.convert("RGB")))
    lines = outputs["report"]["text"][0].splitlines()
    assert [int(line.split()[1].strip(":")) - 1 for line in lines] == expected
    assert lines == outputs["sort"]["text"][0].splitlines()


def results_of(server, output: dict) -> list[Image.Image]:
    return [Image.open(server.base / "output" / image["filename"]) for image in output["images"]]


def test_an_empty_side_runs_nothing_behind_it(server, album):
    names, scores = album[0], album[1][KINDS[1]]
    for threshold, full, empty in ((1.0, "kept", "rejected"), (5.0, "rejected", "kept")):
        outputs = run(server.address, sorting(names, KINDS[1], threshold, "best first"))
        assert len(outputs[full]["images"]) == len(outputs[f"{full}_scores"]["text"]) == 4
        assert not {empty, f"{empty}_scores"} & set(outputs) and "report" in outputs
    assert max(scores) < 5


def test_a_list_is_sorted_as_a_whole_and_both_sides_are_saved(server, album):
    names, scores = album[0], album[1][KINDS[0]]
    prompt = sorting(names, KINDS[0], sorted(scores)[1] + 1e-4, "best first")
    prompt["list"] = node("RebatchImages", images=prompt["sort"]["inputs"]["image"], batch_size=1)
    prompt["sort"]["inputs"]["image"] = ["list", 0]
    outputs = run(server.address, prompt)
    lines = outputs["report"]["text"][0].splitlines()
    expected = sorted(range(4), key=lambda i: -scores[i])
    assert [int(line.split()[1].strip(":")) - 1 for line in lines] == expected
    for output, group in (("kept", expected[:2]), ("rejected", expected[2:])):
        for found, index in zip(results_of(server, outputs[output]), group, strict=True):
            with Image.open(server.base / "input" / names[index]) as original:
                assert np.array_equal(np.asarray(found), np.asarray(original.convert("RGB")))


# ---- memory

FOLLOWS_ITS_INPUT = """
import sys
from pathlib import Path
folder, sys.argv = Path(sys.argv[1]), ["test", "--cpu"]
import comfy.options
comfy.options.enable_args_parsing()
import comfy.ops, torch
from adaqual_core.quality.deqa.scorer import load_deqa
plain = load_deqa(folder, offload=False)
cast = load_deqa(folder, offload=True, operations=comfy.ops.manual_cast)
assert next(cast.net.parameters()).dtype == torch.float16
pixels = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
with torch.inference_mode():
    (wanted,), _ = plain.net.level_logits([pixels], plain.prompt)
    (found,), prefix = cast.net.level_logits([pixels], cast.prompt)
    assert (wanted - found).abs().max() <= 1e-4 * wanted.abs().max(), (wanted, found)
    (elsewhere,), _ = cast.net.level_logits([pixels.to("meta")], cast.prompt)
    assert elsewhere.device.type == "meta"
"""


def test_deqa_follows_its_input_under_manual_cast(tmp_path):
    """Weights in half type may stay on the CPU: every layer computes where its input is, in its type (low VRAM)."""
    write(tmp_path, network().half())
    command = [sys.executable, "-c", FOLLOWS_ITS_INPUT, str(tmp_path)]
    done = subprocess.run(command, cwd=comfyui_folder(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
