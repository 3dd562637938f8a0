"""Tests that run inside ComfyUI's Python, each an item of this suite.

ComfyUI's modules cannot be imported beside the suite's own, because they parse the command line and claim the name ``nodes``. The
modules test_inside_*.py are therefore never imported here: their tests are listed from the source, and one second pytest, with
ComfyUI on its path, runs all that were selected. What it found is reported item by item.
"""

import ast
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from comfy_server import comfyui_folder


@dataclass(frozen=True)
class Outcome:
    """What became of one inner test: its name with parameters, what it printed, and why it failed or was skipped (or None)."""

    name: str
    printed: str
    failed: str | None
    skipped: str | None


@dataclass(frozen=True)
class InnerRun:
    """One run of the second pytest: outcomes by (module, function), and everything that the process printed."""

    outcomes: dict[tuple[str, str], list[Outcome]]
    printed: str


RUN = pytest.StashKey[InnerRun]()


class InnerFailure(Exception):
    """An inner test failed; the message is the inner report."""


class InsideItem(pytest.Item):
    """One function of a module test_inside_*.py, with all its parameters."""

    def __init__(self, line: int, **given):
        super().__init__(**given)
        self.line = line

    def runtest(self) -> None:
        """Run all selected inner tests if that was not done yet; fail or skip as this one did."""
        if RUN not in self.session.stash:
            self.session.stash[RUN] = run_inside([item for item in self.session.items if isinstance(item, InsideItem)])
        run = self.session.stash[RUN]
        outcomes = run.outcomes.get((self.path.stem, self.name), [])
        if not outcomes:
            raise InnerFailure(f"{self.name} did not run inside ComfyUI's Python, which printed:\n{run.printed}")
        failed = [outcome for outcome in outcomes if outcome.failed is not None]
        for outcome in failed:
            self.add_report_section("call", f"stdout of {outcome.name}", outcome.printed)
        if failed:
            raise InnerFailure("\n".join(f"{outcome.name}\n{outcome.failed}" for outcome in failed))
        if all(outcome.skipped is not None for outcome in outcomes):
            pytest.skip(outcomes[0].skipped or "")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> str:
        """The inner report alone, because the outer traceback says nothing."""
        return str(excinfo.value) if isinstance(excinfo.value, InnerFailure) else str(excinfo.getrepr())

    def reportinfo(self) -> tuple[Path, int, str]:
        """File, line and name of the inner test."""
        return self.path, self.line, self.name


class InsideModule(pytest.File):
    """A module test_inside_*.py, read but not imported."""

    def collect(self) -> Iterator[InsideItem]:
        """An item for every test function of the module."""
        for node in ast.parse(self.path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield InsideItem.from_parent(self, name=node.name, line=node.lineno - 1)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Read the modules that run inside ComfyUI's Python; leave all others to pytest."""
    if module_path.name.startswith("test_inside_"):
        return InsideModule.from_parent(parent, path=module_path)
    return None


def run_inside(items: list[InsideItem]) -> InnerRun:
    """Run these inner tests in one process of ComfyUI's Python, with tests/comfyui/inside.py as its plugin."""
    folder = items[0].path.parent
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "inside",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            "--rootdir",
            str(folder),
            "--noconftest",
            "--import-mode=importlib",
            "-q",
            "-o",
            "junit_logging=system-out",
            f"--junitxml={report}",
            *(f"{item.path}::{item.name}" for item in items),
        ]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(path) for path in (comfyui_folder(), folder, folder.parent)),
        }
        done = subprocess.run(
            command, cwd=comfyui_folder(), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return InnerRun(read_report(report) if report.exists() else {}, done.stdout)


def read_report(report: Path) -> dict[tuple[str, str], list[Outcome]]:
    """The outcomes in a report of pytest's own form (JUnit XML), by module and function."""
    found: dict[tuple[str, str], list[Outcome]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("name", "")
        problems = [part.text or "" for kind in ("failure", "error") for part in case.findall(kind)]
        skipped = case.find("skipped")
        outcome = Outcome(
            name,
            case.findtext("system-out") or "",
            "\n".join(problems) if problems else None,
            None if skipped is None else skipped.get("message", ""),
        )
        found.setdefault((case.get("classname", "").rpartition(".")[2], name.partition("[")[0]), []).append(outcome)
    return found
