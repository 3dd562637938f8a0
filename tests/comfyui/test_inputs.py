"""Tensors of every layout, range and size at each node, inside ComfyUI's Python."""

import os
import subprocess
import sys
from pathlib import Path

from comfy_server import REPOSITORY, comfyui_folder


def test_nodes_take_or_refuse_what_they_are_given():
    command = [sys.executable, str(Path(__file__).with_name("odd_inputs.py")), str(REPOSITORY)]
    environment = {**os.environ, "PYTHONPATH": str(comfyui_folder())}
    done = subprocess.run(command, cwd=comfyui_folder(), env=environment, capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
