"""Files are written whole or not at all, whatever ends the process."""

import os
import random
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from comfy_server import REPOSITORY

from adaqual_core.errors import PictureError
from adaqual_core.pictures.reading import read_still
from adaqual_core.pictures.replacing import replace_file
from adaqual_core.pictures.writing import write_still

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (64, 64, 3), np.uint8)


def program(code: str, *arguments, **options) -> subprocess.Popen:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


REWRITE = """
    import sys
    import numpy as np
    from pathlib import Path
    from adaqual_core.pictures.writing import write_still
    pixels = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), np.uint8)
    versions = [pixels, 255 - pixels]
    print("ready", flush=True)
    while True:
        for version in versions:
            write_still(version, Path(sys.argv[1]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_process_leaves_one_whole_file_and_nothing_else(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), np.uint8)
    draw, path = random.Random(0), tmp_path / "a.bmp"
    write_still(pixels, path)
    found = []
    for _ in range(6):
        with program(REWRITE, path) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(draw.uniform(0.0, 0.2))
            process.kill()
            process.wait()
        assert os.listdir(tmp_path) == ["a.bmp"]
        whole = read_still(path).pixels
        found.append(np.array_equal(whole, pixels))
        assert found[-1] or np.array_equal(whole, 255 - pixels)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    """The limit of a file's size stands for a full disk."""
    pytest.importorskip("resource")
    path = tmp_path / "a.bmp"
    write_still(PIXELS, path)
    before = path.read_bytes()
    code = """
        import resource, sys
        import numpy as np
        from pathlib import Path
        from adaqual_core.pictures.writing import write_still
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        write_still(np.zeros((100, 100, 3), np.uint8), Path(sys.argv[1]))
    """
    with program(code, path) as process:
        _, err = process.communicate()
    assert "PictureError" in err and "a.bmp: cannot be written" in err and "File too large" in err
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.bmp"]


def test_a_new_file_has_the_usual_permissions_and_a_replaced_one_its_own(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    replace_file(tmp_path / "new", b"1")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "new").chmod(0o640)
    replace_file(tmp_path / "new", b"2")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640 and (tmp_path / "new").read_bytes() == b"2"


def test_the_umask_is_heeded(tmp_path):
    before = os.umask(0o077)
    try:
        write_still(PIXELS, tmp_path / "sub" / "a.png")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "sub", tmp_path / "sub" / "a.png")]
    assert modes == [0o700, 0o600]


def test_two_that_write_one_file_leave_it_whole_at_every_moment(tmp_path):
    path, contents = tmp_path / "a", [bytes([value]) * 200_000 for value in range(2)]
    replace_file(path, contents[0])

    def write(content: bytes) -> None:
        for _ in range(40):
            replace_file(path, content)

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_bytes() in contents
    assert path.read_bytes() in contents and os.listdir(tmp_path) == ["a"]


def test_systems_without_nameless_files_write_the_same(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    (tmp_path / "plain").write_bytes(b"")
    replace_file(tmp_path / "folder" / "new", b"1")
    assert os.listdir(tmp_path / "folder") == ["new"] and (tmp_path / "folder" / "new").read_bytes() == b"1"
    assert (tmp_path / "folder" / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    write_still(PIXELS, tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink() and np.array_equal(read_still(tmp_path / "real.png").pixels, PIXELS)


def test_an_encoder_that_fails_leaves_the_old_file(tmp_path):
    (tmp_path / "a.webp").write_bytes(b"old")
    with pytest.raises(PictureError, match="WEBP cannot hold a picture of 3×17000 px"):
        write_still(np.zeros((17000, 3, 3), np.uint8), tmp_path / "a.webp")
    assert (tmp_path / "a.webp").read_bytes() == b"old" and os.listdir(tmp_path) == ["a.webp"]
