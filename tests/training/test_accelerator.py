"""What travels to a lent accelerator and back: the corpus in archives, a run in parts."""

import json
import subprocess
import sys
from pathlib import Path

import accelerator
import numpy as np
import pytest
from PIL import Image

from adaqual_core import cli

ROOT = Path(__file__).parents[2]


def test_the_corpus_travels_in_archives(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(accelerator, "ARCHIVE", 20_000)
    archives = accelerator.pack(corpus, tmp_path)
    assert len(archives) > 1 and all(path.stat().st_size <= 20_000 + 10240 for path in archives)
    assert accelerator.unpack(tmp_path, tmp_path / "corpus") == 6
    before, after = (np.asarray(Image.open(folder / "0.png"), float) for folder in (corpus, tmp_path / "corpus"))
    assert np.abs(before - after).mean() < 4
    assert json.loads((tmp_path / "corpus" / "manifest.json").read_text()) == json.loads((corpus / "manifest.json").read_text())


def test_a_run_comes_back_and_goes_on(corpus, tmp_path):
    recipe = ROOT / "tests" / "training" / "recipes" / "assessor.toml"
    options = ["--recipe", str(recipe), "--corpus", str(corpus), "--device", "cpu", "--updates", "3", "--out"]
    command = [sys.executable, "-m", "adaqual_training", *options, str(tmp_path / "there")]
    subprocess.run(command, cwd=ROOT, check=True)
    parts = accelerator.leave(tmp_path / "there", tmp_path / "out")
    assert parts and all((tmp_path / "out" / name).stat().st_size <= accelerator.PART for name in parts)
    accelerator.collect(tmp_path / "out", tmp_path / "here")
    assert cli.main(["train", *options, str(tmp_path / "here")]) == 0
    updates = [json.loads(line)["update"] for line in (tmp_path / "here" / "log.jsonl").read_text().splitlines()]
    assert updates == [3, 6]


def test_nothing_that_came_back_is_said(tmp_path):
    with pytest.raises(SystemExit, match="no run-"):
        accelerator.collect(tmp_path, tmp_path / "run")
