"""This script restores the example photo in a real ComfyUI through its API.

It writes to output/: the photo as it came (before.png), the restored picture, the quality heatmap, and a sheet with all three. It
prints the mean quality before and after.
"""

import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from comfy_server import REPOSITORY, Server, ServerError, fetch, get_json, images, run, running
from comfy_workflow import WorkflowError, to_prompt
from PIL import Image, ImageDraw, ImageFont

WORKFLOW = REPOSITORY / "workflows" / "adaqual_restore_photo.json"
PHOTO = REPOSITORY / "pictures" / "example.png"
OUTPUT = REPOSITORY / "output"
RESTORED, HEATMAP = "adaqual_restored", "adaqual_heatmap"


def saved_picture(server: Server, outputs: dict, prefix: str) -> Image.Image:
    """Return the first output picture that a SaveImage node named with this prefix."""
    for image in images(outputs):
        if image["type"] == "output" and image["filename"].startswith(prefix):
            return Image.open(io.BytesIO(fetch(server.address, image)))
    raise ServerError(f"{WORKFLOW.name} saved no picture named {prefix}*: give a SaveImage node that prefix.")


def mean_quality(picture: Path) -> float:
    """Return the mean quality, 1 (destroyed) to 5 (clean), that the pack's command line finds."""
    command = [Path(sys.executable).with_name("adaqual"), "quality", picture, "--json"]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode != 0:
        raise ServerError(f"`adaqual quality {picture}` failed:\n{answer.stderr.strip()}")
    return json.loads(answer.stdout.splitlines()[-1])["mean"]


def sheet(panels: list[tuple[str, Image.Image]], width: int = 640) -> Image.Image:
    """Return the pictures side by side at one width, each with its caption above."""
    margin, caption = 16, 44
    shown = [one.convert("RGB").resize((width, one.height * width // one.width)) for _, one in panels]
    height = caption + max(picture.height for picture in shown) + margin
    page = Image.new("RGB", (margin + len(shown) * (width + margin), height), "white")
    pen = ImageDraw.Draw(page)
    for number, picture in enumerate(shown):
        left = margin + number * (width + margin)
        pen.text((left, 12), panels[number][0], fill="black", font=ImageFont.load_default(size=22))
        page.paste(picture, (left, caption))
    return page


def restore_photo(server: Server, output: Path) -> tuple[float, float]:
    """Run the workflow, write its pictures into the folder ``output``, and return the mean quality before and after."""
    workflow = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    outputs = run(server.address, to_prompt(workflow, get_json(server.address, "/object_info")))
    restored, heatmap = (saved_picture(server, outputs, prefix) for prefix in (RESTORED, HEATMAP))
    restored.save(output / "restored.png")
    heatmap.save(output / "heatmap.png")
    shutil.copyfile(PHOTO, output / "before.png")
    before, after = mean_quality(output / "before.png"), mean_quality(output / "restored.png")
    panels = [
        (f"before: quality {before:.2f}", Image.open(PHOTO)),
        ("quality map (1 destroyed, 5 clean)", heatmap),
        (f"after: quality {after:.2f}", restored),
    ]
    sheet(panels).save(output / "before_after.png")
    return before, after


def demo() -> None:
    """Start ComfyUI, restore the photo, and print what was done."""
    for needed in (WORKFLOW, PHOTO):
        if not needed.is_file():
            raise ServerError(f"{needed} is missing; get it back with `git checkout -- {needed}`.")
    OUTPUT.mkdir(exist_ok=True)
    print("Starting ComfyUI …", flush=True)
    with tempfile.TemporaryDirectory() as base, running(Path(base)) as server:
        print(f"Restoring {PHOTO.name} with {WORKFLOW.name} at {server.address} …", flush=True)
        began = time.monotonic()
        before, after = restore_photo(server, OUTPUT)
    print(f"It took {time.monotonic() - began:.1f} s. Mean quality, 1 (destroyed) to 5 (clean):")
    print(f"  before {before:.2f}, after {after:.2f}")
    for name in ("restored.png", "heatmap.png", "before_after.png"):
        print(f"  output/{name}")


def main() -> None:
    """Run the demonstration; a problem ends it with one message."""
    try:
        demo()
    except (ServerError, WorkflowError) as error:
        sys.exit(f"make demo: {error}")


if __name__ == "__main__":
    main()
