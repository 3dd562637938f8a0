"""The names that adaqual_core offers from Python, and README's example of them."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from comfy_server import REPOSITORY
from small import picture

import adaqual_core
from adaqual_core import read_picture, write_picture


def test_every_name_is_there_and_belongs_to_the_package():
    for name in adaqual_core.__all__:
        found = getattr(adaqual_core, name)
        assert found.__name__ == name and found.__module__.startswith("adaqual_core.") and name in dir(adaqual_core)
    with pytest.raises(AttributeError, match="has no attribute 'restor'; it offers assess, build_prompt"):
        adaqual_core.restor  # noqa: B018


def test_importing_the_package_brings_nothing_heavy():
    code = "import sys, adaqual_core; print([name for name in ('torch', 'numpy', 'PIL', 'safetensors') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_readmes_example_restores_a_picture(tmp_path, monkeypatch):
    (example,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for line in example.splitlines() if line and not line.startswith(("from ", "import "))]
    assert len(lines) == 5
    monkeypatch.chdir(tmp_path)
    noisy = picture(48, 64) + 0.2 * torch.randn((1, 3, 48, 64), generator=torch.Generator().manual_seed(0))
    write_picture(noisy.clamp(0, 1), Path("photo.jpg"))
    Path("example.py").write_text(example, encoding="utf-8")
    runpy.run_path("example.py")
    before, after = (read_picture(Path(name)) for name in ("photo.jpg", "restored.png"))
    assert before.shape == after.shape and (before - after).abs().mean() > 0.005
