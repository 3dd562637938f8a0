"""Conditioning, guidance and noise masks by the quality map, on a small random-weight SD 1.5 in ComfyUI's own samplers."""

import subprocess
import sys
from pathlib import Path

from comfy_server import REPOSITORY, comfyui_folder


def test_the_map_steers_a_real_model():
    script = str(Path(__file__).with_name("steered.py"))
    command = [sys.executable, "-c", f"__file__ = {script!r}; exec(open(__file__).read())", str(REPOSITORY)]
    done = subprocess.run(command, cwd=comfyui_folder(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
