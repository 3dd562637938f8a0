"""Random models in files, and the command line in a folder of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest
from small import assessor, denoiser

from adaqual_core import cli
from adaqual_core.weight_files import save_model


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> list[str]:
    """Options that name a small restorer and a small assessor."""
    folder = tmp_path_factory.mktemp("models")
    save_model(denoiser(), folder / "model.safetensors", {})
    save_model(assessor(), folder / "assessor.safetensors", {})
    return ["--model", str(folder / "model.safetensors"), "--assessor", str(folder / "assessor.safetensors"), "--device", "cpu"]


@pytest.fixture
def adaqual(models: list[str], tmp_path: Path, capsys, monkeypatch) -> Callable[..., tuple[int, str, str]]:
    """Call the command line with small models in the test's folder: status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(command: str, *options) -> tuple[int, str, str]:
        named = {"restore": models, "quality": models[2:]}.get(command, [])
        status = cli.main([command, *map(str, options), *named])
        return status, *capsys.readouterr()

    return call
