"""``python -m benchmarks.steering`` measures steering on a full-size Stable Diffusion 1.5 with random weights (7 GB of memory).

It runs the shipped workflow adaqual_steer_sd15 in a real server, 2 steps at 256², then times the Quality Guider beside ComfyUI's
CFGGuider (see guiders.py). It prints one JSON object.
"""

import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.append(str(REPOSITORY / "scripts"))
import comfy_server as c  # noqa: E402
from comfy_workflow import to_prompt  # noqa: E402

WORKFLOW = REPOSITORY / "workflows" / "adaqual_steer_sd15.json"
CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"
SIDE, STEPS, PAIRS = 256, 2, 7


def in_comfyui(script: Path, *arguments: str) -> str:
    """Return what a script prints that imports ComfyUI's modules."""
    folder = c.comfyui_folder()
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def run_workflow(server: c.Server) -> dict:
    """Return seconds, memory and result of the shipped workflow in a running server that has its checkpoint."""
    with Image.open(REPOSITORY / "pictures" / "example.png") as example:
        example.crop((100, 100, 100 + SIDE, 100 + SIDE)).save(server.base / "input" / "benchmark.png")
    prompt = to_prompt(json.loads(WORKFLOW.read_text("utf-8")), c.get_json(server.address, "/object_info"))
    for node in prompt.values():
        if node["class_type"] == "LoadImage":
            node["inputs"]["image"] = "benchmark.png"
        if node["class_type"] == "BasicScheduler":
            node["inputs"]["steps"] = STEPS
    start = time.perf_counter()
    saved = c.images(c.run(server.address, prompt, 1800))
    seconds = time.perf_counter() - start
    (result,) = (one for one in saved if one["filename"].startswith("adaqual_steered"))
    size = Image.open(io.BytesIO(c.fetch(server.address, result))).size
    memory = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{server.pid}/status").read_text())
    return {"seconds": round(seconds, 1), "size": size, "GB at most": round(int(memory[1]) / 2**20, 2)}


def main() -> None:
    """Measure the workflow and the guiders, and print one JSON object."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        c.prepare_base(base)
        (base / "models" / "checkpoints").mkdir()
        in_comfyui(REPOSITORY / "scripts" / "random_models.py", str(base / "models"), "full")
        with c.running(base) as server:
            results = {f"workflow, {STEPS} steps at {SIDE}²": run_workflow(server)}
        checkpoint = base / "models" / "checkpoints" / CHECKPOINT
        printed = in_comfyui(REPOSITORY / "benchmarks" / "guiders.py", str(REPOSITORY), str(checkpoint), str(SIDE), str(PAIRS))
        results["guiders"] = json.loads(printed.splitlines()[-1])
    print(json.dumps(results, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
