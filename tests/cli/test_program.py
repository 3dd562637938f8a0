"""The command line as a process: what it prints, its progress on a terminal, and Ctrl-C."""

import os
import select
import signal
import struct
import subprocess
import sys
import time

import pytest
from comfy_server import REPOSITORY
from command_line import last_object
from lacking import needs_careful_tqdm
from small import picture

from adaqual_core.imageio import write_picture


def test_as_a_program(weights, tmp_path):
    write_picture(picture(40, 70), tmp_path / "a.png")
    models = ["--model", weights / "model.safetensors", "--assessor", weights / "assessor.safetensors"]
    command = [sys.executable, "-m", "adaqual_core", "restore", "a.png", "b.png", *models, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert last_object(done.stdout)["tiles_run"] == 2


@needs_careful_tqdm
def test_progress_on_a_terminal_and_interruption(weights, tmp_path):
    """The bar shows on stderr where that is a terminal; Ctrl-C ends with 130 and leaves the old file as it was."""
    write_picture(picture(512, 512), tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"old")
    models = ["--model", weights / "model.safetensors", "--assessor", weights / "assessor.safetensors"]
    options = ["--steps", "1000", "--tile", "64", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [sys.executable, "-m", "adaqual_core", "restore", "a.png", "b.png", *models, *options]
    streams = {"stdout": subprocess.PIPE, "stderr": theirs}

    def heed_interrupts() -> None:
        """Undo what a shell does to the tests where they run in the background."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(command, cwd=tmp_path, env=environment, preexec_fn=heed_interrupts, **streams) as process:
        os.close(theirs)
        shown, deadline, interrupted = b"", time.monotonic() + 240, False
        while (left := deadline - time.monotonic()) > 0 and select.select([ours], [], [], left)[0]:
            try:
                block = os.read(ours, 4096)
            except OSError:  # so Linux ends a closed pseudo terminal
                block = b""
            if not block:
                break
            shown += block
            if b"batch/s" in shown and not interrupted:
                process.send_signal(signal.SIGINT)
                interrupted = True
        if not interrupted:
            process.kill()
        out, status = process.stdout.read(), process.wait(timeout=60)
    os.close(ours)
    assert status == 130 and out == b"" and b"adaqual: interrupted" in shown and b"Traceback" not in shown
    assert (tmp_path / "b.png").read_bytes() == b"old" and sorted(os.listdir(tmp_path)) == ["a.png", "b.png"]
