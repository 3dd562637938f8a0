"""Random models in files, and the command line in a folder of its own."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small import assessor, restorer

from adaqual_core import cli
from adaqual_core.weight_files import save_model


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> list[str]:
    """Options that name a small restorer and a small assessor."""
    folder = tmp_path_factory.mktemp("models")
    save_model(restorer(), folder / "model.safetensors", {})
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


@pytest.fixture
def other_user(tmp_path: Path, tmp_path_factory, models: list[str]) -> Callable:
    """A context in which the process has the rights of another user than root, who may read the test's folders and models."""
    if not hasattr(os, "seteuid"):
        pytest.skip("this system has no users as POSIX knows them")
    tmp_path.chmod(0o777)
    for path in map(Path, (models[1], models[3])):
        path.chmod(0o644)
    base = tmp_path_factory.getbasetemp()
    for folder in (base.parent, base, Path(models[1]).parent):  # pytest closes its folders to others
        folder.chmod(folder.stat().st_mode | 0o055)

    @contextmanager
    def act() -> Iterator[None]:
        mine = os.geteuid()
        if mine == 0:
            os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(mine)

    return act
