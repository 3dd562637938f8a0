"""A file that may not be read is said to be closed to this user, not to be damaged or missing."""

import os
from collections.abc import Callable

import pytest
from safetensors.torch import save_file
from small import assessor, picture, restorer, save_lightning, save_weatherdiffusion
from small_clip import write_clip

from adaqual_core.errors import CheckpointError, PictureError
from adaqual_core.imageio import write_picture
from adaqual_core.pictures.header import read_header
from adaqual_core.published.golden import check_golden
from adaqual_core.published.read import load_restorer, read_published
from adaqual_core.quality.assess import open_assessor
from adaqual_core.quality.deqa.golden import check_deqa
from adaqual_core.quality.deqa.lora import read_adapter
from adaqual_core.weight_files import read, save_model

ERRORS = (CheckpointError, PictureError)


@pytest.mark.parametrize(
    "make, closed, load",
    [
        (lambda path: save_model(restorer(), path / "m.safetensors", {}), "m.safetensors", load_restorer),
        (lambda path: save_model(restorer(), path / "m.safetensors", {}), "m.safetensors", lambda path: read(path, "restorer")),
        (lambda path: save_model(assessor(), path / "a.safetensors", {}), "a.safetensors", open_assessor),
        (lambda path: save_lightning(path / "x.ckpt"), "x.ckpt", load_restorer),
        (lambda path: save_weatherdiffusion(path / "x.pth.tar"), "x.pth.tar", read_published),
        (lambda path: save_file({}, path / "g.safetensors"), "g.safetensors", check_golden),
        (lambda path: save_file({}, path / "g.safetensors"), "g.safetensors", check_deqa),
        (write_clip, "config.json", lambda path: open_assessor(path.parent)),
        (write_clip, "model.safetensors", lambda path: open_assessor(path.parent)),
        (lambda path: (path / "adapter_config.json").touch(), "adapter_config.json", lambda path: read_adapter(path.parent)),
        (lambda path: (path / "a.png").write_bytes(b"x"), "a.png", read_header),
    ],
)
def test_permission_denied_is_not_damaged(other_user, tmp_path, make: Callable, closed: str, load: Callable):
    make(tmp_path)
    for path in tmp_path.iterdir():
        path.chmod(0o644)
    (tmp_path / closed).chmod(0)
    with other_user(), pytest.raises(ERRORS, match=f"{closed}: permission denied; allow this user to read the file"):
        load(tmp_path / closed)


def test_folders_of_pictures(adaqual, other_user, tmp_path):
    for name in ("in/one.png", "in/two.png", "deep/closed/one.png", "deep/two.png"):
        write_picture(picture(20, 24), tmp_path / name)
    (tmp_path / "locked").mkdir(mode=0o500)
    (tmp_path / "in" / "one.png").chmod(0)
    (tmp_path / "deep" / "closed").chmod(0)
    with other_user():
        results = [adaqual("restore", "in/one.png", "b.png"), adaqual("quality", "in/one.png"), adaqual("restore", "in", "out")]
        locked = adaqual("restore", "in/two.png", "locked/b.png")
        deep = adaqual("restore", "deep", "out2", "--recursive")
    (tmp_path / "deep" / "closed").chmod(0o700)
    for status, _, err in results:
        assert status == 1 and "in/one.png: permission denied; allow" in err and "damaged" not in err
    assert os.listdir("out") == ["two.png"]
    assert locked[0] == 1 and "locked/b.png: cannot be written" in locked[2]
    assert deep[0] == 1 and os.listdir("out2") == ["two.png"] and "deep/closed: permission denied" in deep[2]
