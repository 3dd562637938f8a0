"""Makes workflows/NAME.jpg from real results, after new weights: ``python scripts/make_workflow_pictures.py [NAME ...]``.

Square: left half the input, right half the result, a white line between, the quality map inset where the workflow saves one.
Of a workflow that needs models from elsewhere only what needs none is run, and the right half is the quality map.
"""

import io
import json
import sys
import tempfile
from pathlib import Path

import comfy_server as c
from comfy_workflow import to_prompt
from PIL import Image, ImageDraw

SIDE = 768
NEEDS_FILES = ("CheckpointLoaderSimple", "ControlNetLoader", "UpscaleModelLoader")


def square(picture: Image.Image) -> Image.Image:
    short = min(picture.size)
    left, top = (picture.width - short) // 2, (picture.height - short) // 2
    return picture.convert("RGB").crop((left, top, left + short, top + short)).resize((SIDE, SIDE), Image.LANCZOS)


def without_models(prompt: dict) -> dict:
    """The nodes that need no model file, directly or through their inputs."""
    left = {name: node for name, node in prompt.items() if node["class_type"] not in NEEDS_FILES}
    while True:
        kept = {name: node for name, node in left.items()
                if all(value[0] in left for value in node["inputs"].values() if isinstance(value, list))}  # fmt: skip
        if len(kept) == len(left):
            return kept
        left = kept


with tempfile.TemporaryDirectory() as folder, c.running(Path(folder)) as server:
    source = server.base / "input" / "adaqual_example.png"
    before = Image.open(source).convert("RGB")
    painted = before.copy()
    alpha = Image.new("L", painted.size, 255)
    w, h = painted.size
    ImageDraw.Draw(alpha).ellipse((0.55 * w, 0.3 * h, 0.85 * w, 0.7 * h), fill=0)  # transparent = painted in LoadImage
    painted.putalpha(alpha)
    painted.save(server.base / "input" / "painted.png")
    info = c.get_json(server.address, "/object_info")
    for path in sorted((c.REPOSITORY / "workflows").glob("*.json")):
        if sys.argv[1:] and path.stem not in sys.argv[1:]:
            continue
        prompt = without_models(to_prompt(json.loads(path.read_text(encoding="utf-8")), info))
        for node in prompt.values():
            if node["class_type"] == "LoadImage" and "mask" in path.stem:
                node["inputs"]["image"] = "painted.png"
            if node["class_type"] == "SaveImage":  # apart, as ComfyUI saves nothing twice
                node["inputs"]["filename_prefix"] = f"{path.stem}/{node['inputs']['filename_prefix']}"
        saved = {}
        for image in c.images(c.run(server.address, prompt, 1200)):
            if image["type"] == "output":
                saved[image["filename"].rsplit("_", 2)[0]] = Image.open(io.BytesIO(c.fetch(server.address, image)))
        results = [saved.pop(name) for name in ("adaqual_restored", "adaqual_upscaled") if name in saved]
        after = results[0] if results else saved.pop("adaqual_heatmap").crop((0, 0, *before.size))
        page = square(before)
        page.paste(square(after).crop((SIDE // 2, 0, SIDE, SIDE)), (SIDE // 2, 0))
        pen = ImageDraw.Draw(page)
        pen.line((SIDE // 2, 0, SIDE // 2, SIDE), fill="white", width=4)
        if "adaqual_heatmap" in saved:
            inset = saved["adaqual_heatmap"].convert("RGB")
            inset = inset.resize((SIDE // 3, round(inset.height * SIDE / 3 / inset.width)), Image.LANCZOS)
            corner = (16, SIDE - inset.height - 16)
            pen.rectangle((corner[0] - 3, corner[1] - 3, corner[0] + inset.width + 2, corner[1] + inset.height + 2), fill="white")
            page.paste(inset, corner)
        page.save(path.with_suffix(".jpg"), quality=88)
        print(path.with_suffix(".jpg"))
