"""One real ComfyUI and one real browser for the whole test session."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import benchmark_package  # noqa: F401  makes the benchmarks importable
import comfy_server
import pytest
from inside_items import pytest_pycollect_makemodule  # noqa: F401  pytest finds the hook here
from playwright.sync_api import Browser, sync_playwright
from small import save_lightning, save_weatherdiffusion

from benchmarks.queued import add_probe

WORKFLOWS = sorted((comfy_server.REPOSITORY / "workflows").glob("*.json"))
NEEDS_FILES = re.compile(r'"type": "(Checkpoint|ControlNet|UpscaleModel)Loader')
MODEL_WORKFLOWS = [path for path in WORKFLOWS if NEEDS_FILES.search(path.read_text("utf-8"))]
COMPLETE_WORKFLOWS = [path for path in WORKFLOWS if path not in MODEL_WORKFLOWS]
# Chromium must not look for hosts outside the machine, and refuses its sandbox to root.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# Files that users download, as small files of random weights.
DOWNLOADED = {"WeatherDiff64.pth.tar": save_weatherdiffusion, "adaqual.ckpt": save_lightning}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[comfy_server.Server]:
    """A running ComfyUI with this pack, in a base directory of its own."""
    base = tmp_path_factory.mktemp("comfyui")
    (base / "models" / "adaqual").mkdir(parents=True)
    for name, save in DOWNLOADED.items():
        save(base / "models" / "adaqual" / name)
    add_probe(base)
    with comfy_server.running(base) as started:
        yield started


@pytest.fixture(scope="session")
def object_info(server: comfy_server.Server) -> dict:
    """What the server says of all its nodes."""
    return comfy_server.get_json(server.address, "/object_info")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, or the one that CHROMIUM names."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not chromium:
        pytest.fail("No Chromium: run `make browser`, or name one with CHROMIUM=/path/to/chromium.")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield started
        started.close()


def read(request: pytest.FixtureRequest) -> dict:
    path: Path = request.param
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def workflow(request: pytest.FixtureRequest) -> dict:
    """Each shipped workflow in turn, as saved by the front end."""
    return read(request)


@pytest.fixture(params=COMPLETE_WORKFLOWS, ids=lambda path: path.stem)
def complete_workflow(request: pytest.FixtureRequest) -> dict:
    """Each workflow that runs with what the pack brings."""
    return read(request)


@pytest.fixture(params=MODEL_WORKFLOWS, ids=lambda path: path.stem)
def model_workflow(request: pytest.FixtureRequest) -> dict:
    """Each workflow that needs files of published models."""
    return read(request)
