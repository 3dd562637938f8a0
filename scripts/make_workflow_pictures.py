"""This script makes workflows/NAME.jpg after new weights: ``.venv/bin/python scripts/make_workflow_pictures.py [NAME ...]``.

Pictures are square and show real results: the left half of the input, the right half of the result, a white line between, and the
quality map in a corner where the workflow saves one. A workflow that sorts shows what is kept above what is rejected. Workflows
that need a model to be downloaded show their graph instead, as the front end draws it.
"""

import base64
import io
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import av
import comfy_server as c
from comfy_workflow import to_prompt
from PIL import Image, ImageDraw
from playwright.sync_api import sync_playwright

SIDE = 768
INSETS = {"adaqual_heatmap": SIDE // 3, "adaqual_kinds": 2 * SIDE // 3}
"""What is shown in a corner, by the name that it is saved under, and how wide."""
PAINTED = {"adaqual_painted_mask": (0.55, 0.3, 0.85, 0.7), "adaqual_choose_damage": (0.2, -0.1, 0.65, 0.5)}
"""Ellipses that are painted in the loaded picture: left, top, right and bottom as parts of its sides."""
LOADERS = ("CheckpointLoaderSimple", "ControlNetLoader", "UpscaleModelLoader")
SHIPPED = re.compile(r".*\(shipped\)").fullmatch
FIT = """workflow => app.loadGraphData(workflow).then(() => {
    const boxes = app.graph.nodes.map(n => n.getBounding()), [pad, wide, high] = [40, innerWidth, innerHeight];
    const left = Math.min(...boxes.map(b => b[0])) - pad, top = Math.min(...boxes.map(b => b[1])) - pad;
    const right = Math.max(...boxes.map(b => b[0] + b[2])) + pad, bottom = Math.max(...boxes.map(b => b[1] + b[3])) + pad;
    const scale = Math.min(wide / (right - left), high / (bottom - top));
    Object.assign(app.canvas.ds, {scale, offset: [wide / scale / 2 - (left + right) / 2, high / scale / 2 - (top + bottom) / 2]});
    document.querySelectorAll('body > *').forEach(e => { if (!e.contains(app.canvasEl)) e.style.display = 'none'; });
    app.canvas.setDirty(true, true);
})"""


def graph(server: c.Server, workflow: dict) -> Image.Image:
    """Return the workflow's graph as the front end draws it."""
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport={"width": 2 * SIDE, "height": 2 * SIDE})
        page.goto(server.address)
        page.wait_for_function("window.app?.vueAppReady && window.app.graph", timeout=300_000)
        page.evaluate(FIT, workflow)
        page.wait_for_timeout(5000)
        url = page.evaluate("() => app.canvasEl.toDataURL()")
        browser.close()
    drawn = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
    return square(drawn)


def square(picture: Image.Image) -> Image.Image:
    """Return the largest centred square of a picture, SIDE px a side."""
    short = min(picture.size)
    left, top = (picture.width - short) // 2, (picture.height - short) // 2
    return picture.convert("RGB").crop((left, top, left + short, top + short)).resize((SIDE, SIDE), Image.LANCZOS)


def sheet(*rows: list[Image.Image]) -> Image.Image:
    """Return rows of pictures with white lines between. Every picture is as large as the longest row allows."""
    side = SIDE // max(len(rows), *map(len, rows))
    page = Image.new("RGB", (SIDE, SIDE), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            page.paste(square(picture).resize((side - 4, side - 4), Image.LANCZOS), (x * side + 2, y * side + 2))
    return page


def picture(data: bytes, name: str) -> Image.Image:
    """Return the picture in a file, or the middle frame of a clip."""
    if not name.endswith(".mp4"):
        return Image.open(io.BytesIO(data))
    with av.open(io.BytesIO(data)) as clip:
        frames = [frame.to_image() for frame in clip.decode(video=0)]
    return frames[len(frames) // 2]


def needs_files(prompt: dict) -> bool:
    """Return whether a workflow needs models that do not come with the pack."""
    restorers = [node["inputs"]["model_name"] for node in prompt.values() if node["class_type"] == "AdaQualLoadModel"]
    return any(node["class_type"] in LOADERS for node in prompt.values()) or not all(map(SHIPPED, restorers))


def paint_inputs(server: c.Server) -> None:
    """Write the painted pictures that some workflows load into the server's input folder, from the example photo."""
    before = Image.open(server.base / "input" / "adaqual_example.png").convert("RGB")
    w, h = before.size
    for stem, (left, top, right, bottom) in PAINTED.items():
        painted, alpha = before.copy(), Image.new("L", before.size, 255)
        box = (left * w, top * h, right * w, bottom * h)
        ImageDraw.Draw(alpha).ellipse(box, fill=0)  # transparent = painted in LoadImage
        painted.putalpha(alpha)
        painted.save(server.base / "input" / f"{stem}.png")


def saved_by(server: c.Server, stem: str, prompt: dict) -> dict[str, list[Image.Image]]:
    """Run a workflow's prompt and return the pictures that it saves, by the name that they are saved under."""
    for node in prompt.values():
        if node["class_type"] == "LoadImage" and stem in PAINTED:
            node["inputs"]["image"] = f"{stem}.png"
        if node["class_type"] in ("SaveImage", "SaveVideo"):  # apart, as ComfyUI saves nothing twice
            node["inputs"]["filename_prefix"] = f"{stem}/{node['inputs']['filename_prefix']}"
    saved: dict[str, list[Image.Image]] = {}
    for image in c.images(c.run(server.address, prompt, 1200)):
        if image["type"] == "output":
            name = image["filename"].rsplit("_", 2)[0]
            saved.setdefault(name, []).append(picture(c.fetch(server.address, image), image["filename"]))
    return saved


def before_and_after(before: Image.Image, saved: dict[str, list[Image.Image]]) -> Image.Image:
    """Return the left half of the input beside the right half of the result, with what INSETS names in a corner."""
    (after,) = saved.get("adaqual_restored") or saved["adaqual_upscaled"]
    page = square(before)
    page.paste(square(after).crop((SIDE // 2, 0, SIDE, SIDE)), (SIDE // 2, 0))
    pen = ImageDraw.Draw(page)
    pen.line((SIDE // 2, 0, SIDE // 2, SIDE), fill="white", width=4)
    for name, wide in INSETS.items():
        if name not in saved:
            continue
        inset = saved[name][0].convert("RGB")
        inset = inset.resize((wide, round(inset.height * wide / inset.width)), Image.LANCZOS)
        corner = (16, SIDE - inset.height - 16)
        pen.rectangle((corner[0] - 3, corner[1] - 3, corner[0] + inset.width + 2, corner[1] + inset.height + 2), fill="white")
        page.paste(inset, corner)
    return page


def draw(server: c.Server, path: Path, info: dict) -> Image.Image:
    """Return the picture of the workflow in ``path``; ``info`` is the server's /object_info. Inputs must be painted already."""
    workflow = json.loads(path.read_text(encoding="utf-8"))
    prompt = to_prompt(workflow, info)
    if needs_files(prompt):
        return graph(server, workflow)
    saved = saved_by(server, path.stem, prompt)
    if "adaqual_kept" in saved:
        return sheet(saved["adaqual_kept"], saved["adaqual_rejected"])
    clips = [node["inputs"]["file"] for node in prompt.values() if node["class_type"] == "LoadVideo"]
    name = clips[0] if clips else "adaqual_example.png"
    return before_and_after(picture((server.base / "input" / name).read_bytes(), name), saved)


def main(names: list[str]) -> None:
    """Draw the workflows of these names, or all."""
    with tempfile.TemporaryDirectory() as folder, c.running(Path(folder)) as server:
        paint_inputs(server)
        info = c.get_json(server.address, "/object_info")
        for path in sorted((c.REPOSITORY / "workflows").glob("*.json")):
            if not names or path.stem in names:
                draw(server, path, info).save(path.with_suffix(".jpg"), quality=88)
                print(path.with_suffix(".jpg"))


if __name__ == "__main__":
    main(sys.argv[1:])
