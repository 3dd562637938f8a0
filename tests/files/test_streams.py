"""Standard streams that are closed or full: the work is done all the same, or the error says what could not be written."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from comfy_server import REPOSITORY
from small import picture

from adaqual_core.console import say
from adaqual_core.imageio import write_picture

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs streams as POSIX has them")
STREAMS = (0, 1, 2)


def program(closed: tuple[int, ...], folder: Path, *argv: str, **more: str) -> subprocess.CompletedProcess:
    """Run the command line as a program of its own, without the streams of these numbers and with more in its environment."""

    def close() -> None:
        for number in closed:
            os.close(number)

    command = [sys.executable, "-m", "adaqual_core", *argv]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)} | more
    return subprocess.run(command, cwd=folder, env=environment, preexec_fn=close, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), STREAMS])
def test_an_error_is_an_error_whichever_stream_is_closed(tmp_path, closed):
    (tmp_path / "text.png").write_text("hello")
    done = program(closed, tmp_path, "restore", "text.png", "out.png")
    assert done.returncode == 1 and done.stdout == "" and (tmp_path / "text.png").read_text() == "hello"
    message = "adaqual: error: text.png: not a picture that can be read; give PNG, JPEG, WebP, TIFF, BMP, GIF or AVIF\n"
    assert done.stderr == ("" if 2 in closed else message)


def test_without_any_stream_a_picture_is_written_as_with_them(adaqual, tmp_path):
    write_picture(picture(20, 20), tmp_path / "in.png")
    argv = ("degrade", "in.png", "--kinds", "haze")
    assert adaqual("degrade", "in.png", "wanted.png", "--kinds", "haze")[0] == 0
    assert program(STREAMS, tmp_path, *argv[:2], "found.png", *argv[2:]).returncode == 0
    assert (tmp_path / "found.png").read_bytes() == (tmp_path / "wanted.png").read_bytes()


class Full(io.StringIO):
    """A stream that nothing can be written to."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_stdout_is_named(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(OSError, match="standard output: cannot be written .No space left on device.; what is done"):
        say("hello")


def test_a_full_stderr_stops_nothing(monkeypatch, adaqual, tmp_path):
    (tmp_path / "in").mkdir()
    write_picture(picture(20, 20), tmp_path / "in" / "b.png")
    (tmp_path / "in" / "a.png").write_text("hello")
    monkeypatch.setattr(sys, "stderr", Full())
    assert adaqual("restore", "in", "out", "--strength", 0)[0] == 1
    assert os.listdir("out") == ["b.png"]


def test_names_are_said_and_found_where_the_locale_lacks_their_letters(tmp_path):
    (tmp_path / "bü×🌧.png").write_text("hello")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = program((), tmp_path, "restore", "bü×🌧.png", "out.png", **ascii_only)
    assert done.returncode == 1 and done.stderr.startswith("adaqual: error: b\\udcc3") and "not a picture" in done.stderr
    shown = program((), tmp_path, "restore", "--help", **ascii_only)
    assert shown.returncode == 0 and "--preserve" in shown.stdout
