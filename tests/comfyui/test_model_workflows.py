"""The shipped workflows that need published models, run as shipped with small random-weight files under the same names."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from comfy_server import REPOSITORY, comfyui_folder, fetch, images, run
from comfy_workflow import to_prompt
from PIL import Image

FOLDERS = {"CheckpointLoaderSimple": "checkpoints", "ControlNetLoader": "controlnet", "UpscaleModelLoader": "upscale_models"}
SIDE = 128
# What makes the run small; everything else is as shipped.
SMALLER = {
    ("LoadImage", "image"): "small_example.png",
    ("BasicScheduler", "steps"): 2,
    ("ImageScaleToTotalPixels", "megapixels"): 0.04,
}


@pytest.fixture(scope="module")
def models(server):
    """Random-weight files in the server's model folders, and a small input picture."""
    command = [sys.executable, str(REPOSITORY / "scripts" / "random_models.py"), str(server.base / "models"), "small"]
    environment = {**os.environ, "PYTHONPATH": str(comfyui_folder())}
    done = subprocess.run(command, cwd=comfyui_folder(), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with Image.open(REPOSITORY / "pictures" / "example.png") as example:
        example.crop((100, 100, 100 + SIDE, 100 + SIDE)).save(server.base / "input" / "small_example.png")
    yield
    for folder in FOLDERS.values():
        for file in (server.base / "models" / folder).iterdir():
            file.unlink()


def test_a_note_names_every_model_and_its_folder(model_workflow):
    notes = "\n".join(node["widgets_values"][0] for node in model_workflow["nodes"] if node["type"] == "MarkdownNote")
    for node in model_workflow["nodes"]:
        if node["type"] in FOLDERS:
            assert f"`{node['widgets_values'][0]}` into `models/{FOLDERS[node['type']]}`" in notes


def test_workflow_runs_with_models_of_its_kind(request, server, object_info, models, model_workflow):
    prompt = to_prompt(model_workflow, object_info)
    for node in prompt.values():
        if node["class_type"] == "SaveImage":  # apart, as ComfyUI saves nothing twice
            node["inputs"]["filename_prefix"] = f"{request.node.callspec.id}/{node['inputs']['filename_prefix']}"
        for (kind, name), value in SMALLER.items():
            if node["class_type"] == kind:
                node["inputs"][name] = value
    outputs = run(server.address, prompt)
    assert {node for node, wanted in prompt.items() if wanted["class_type"] in ("SaveImage", "PreviewImage")} <= set(outputs)
    with Image.open(server.base / "input" / "small_example.png") as source:
        before = np.asarray(source.convert("RGB"), int)
    results = {}
    for image in images(outputs):
        name = image["filename"].rsplit("_", 2)[0]
        results[name] = Image.open(io.BytesIO(fetch(server.address, image)))
    (name,) = set(results) & {"adaqual_steered", "adaqual_upscaled", "adaqual_best"}
    after = results[name].convert("RGB")
    scaled = any(node["class_type"] == "ImageScaleToTotalPixels" for node in prompt.values())
    assert after.size == {"adaqual_upscaled": (4 * SIDE, 4 * SIDE)}.get(name, (200, 200) if scaled else (SIDE, SIDE))
    change = np.abs(np.asarray(after.resize((SIDE, SIDE), Image.BOX), int) - before).mean()
    assert change > 2 and np.asarray(after).std() > 2
