"""How fast the command line answers, by what it imports: seconds differ between machines, imports do not."""

import os
import subprocess
import sys

import pytest
from comfy_server import REPOSITORY
from lacking import needs_lazy_torch
from small import picture

from adaqual_core.imageio import write_picture

REPORT = """
import sys
from adaqual_core import cli
try:
    status = cli.main(sys.argv[1:])
except SystemExit as end:
    status = end.code
print(status, *(name for name in ("torch", "numpy", "PIL", "torch._dynamo", "sympy", "torch._inductor") if name in sys.modules))
"""


def imported(folder, *argv) -> tuple[int, set[str], str]:
    """Exit status of the command line, which heavy modules it has imported, and stderr."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", REPORT, *argv], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    status, *modules = done.stdout.splitlines()[-1].split()
    return int(status), set(modules), done.stderr


@pytest.mark.parametrize("argv", [["--help"], ["restore", "--help"], ["evaluate", "--help"]])
def test_help_imports_nothing_heavy(tmp_path, argv):
    assert imported(tmp_path, *argv)[:2] == (0, set())


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["paint"],
        ["restore", "a.png"],
        ["restore", "a.png", "b.png", "--steps", "0"],
        ["restore", "a", "b", "--tile", "10"],
        ["restore", "a.png", "b.png", "--device", "abacus"],
        ["degrade", "a.png", "b.png", "--kinds", "fog"],
    ],
)
def test_wrong_usage_imports_nothing_heavy(tmp_path, argv):
    assert imported(tmp_path, *argv)[:2] == (2, set())


def test_files_that_cannot_be_are_refused_before_torch(tmp_path):
    write_picture(picture(20, 20), tmp_path / "a.png")
    (tmp_path / "text.png").write_text("hello")
    for argv in (
        ["restore", "missing.png", "b.png"],
        ["restore", "text.png", "b.png"],
        ["restore", "a.png", "b.xyz"],
        ["quality", "text.png"],
        ["evaluate", "--clean", "a", "--degraded", "b"],
    ):
        status, modules, err = imported(tmp_path, *argv)
        assert status == 1 and modules <= {"numpy", "PIL"} and err.startswith("adaqual: error: ")


@needs_lazy_torch
def test_restoring_does_not_import_torchs_compiler(tmp_path):
    """With the shipped weights, which are built on the meta device."""
    write_picture(picture(64, 64), tmp_path / "a.png")
    status, modules, err = imported(tmp_path, "restore", "a.png", "b.png", "--device", "cpu")
    assert (status, modules, err) == (0, {"torch", "numpy", "PIL"}, "")
