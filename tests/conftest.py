"""Options of the whole suite, and a small corpus for what trains."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lacking import HAS_AVIF
from PIL import Image


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--device cuda`` runs the tests of computation on that device."""
    parser.addoption("--device", default="cpu", help="device of the tests of computation: cpu (default) or cuda")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that have AVIF among their parameters are skipped where the installed Pillow lacks it."""
    for item in items:
        if not HAS_AVIF and "avif" in item.name.lower():
            item.add_marker(pytest.mark.skip(reason="this Pillow has no AVIF"))


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device that was asked for."""
    return torch.device(request.config.getoption("--device"))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """Six small photos of two sources, in the form that adaqual_training.corpus writes."""
    folder = tmp_path_factory.mktemp("corpus")
    rng, pictures = np.random.default_rng(0), []
    for number in range(6):
        ramp = (
            np.linspace(0, 1, 96)[:, None, None] * rng.uniform(0.3, 1, 3) + 0.1 * rng.standard_normal((1, 96, 3)).cumsum(1) / 10
        )
        pixels = (np.clip(np.broadcast_to(ramp, (96, 96, 3)), 0, 1) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        split = "train" if number < 4 else "held"
        pictures.append(
            {"file": f"{number}.png", "photo": str(number), "source": split, "split": split, "weight": 1.0, "unfit": []}
        )
    (folder / "manifest.json").write_text(json.dumps({"hash": "0" * 64, "pictures": pictures}))
    return folder
