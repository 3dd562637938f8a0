"""Conditioning, guidance, noise masks and blending by the quality map, in ComfyUI's own samplers with small random models."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from comfy_server import REPOSITORY, comfyui_folder


@pytest.mark.parametrize("script", ["steered", "families", "composed", "mismatched"])
def test_the_map_steers_real_models(script):
    command = [sys.executable, str(Path(__file__).with_name(f"{script}.py")), str(REPOSITORY)]
    environment = {**os.environ, "PYTHONPATH": str(comfyui_folder())}
    done = subprocess.run(command, cwd=comfyui_folder(), env=environment, capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
