"""Small models in files, and the command line in a folder of its own."""

import pytest
from small import assessor, picture, restorer

from adaqual_core import cli
from adaqual_core.imageio import write_picture
from adaqual_core.weight_files import save_model


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_model(restorer(), folder / "model.safetensors", {})
    save_model(assessor(), folder / "assessor.safetensors", {})
    return folder


@pytest.fixture
def adaqual(weights, tmp_path, capsys, monkeypatch):
    """Run the command line in a folder with a picture a.png: status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    write_picture(picture(40, 70), tmp_path / "a.png")

    def call(*argv, models=True):
        argv = [str(x) for x in argv]
        if models and argv[0] in ("restore", "evaluate"):
            argv += ["--model", f"{weights}/model.safetensors"]
        if models and argv[0] in ("restore", "evaluate", "quality"):
            argv += ["--assessor", f"{weights}/assessor.safetensors", "--device", "cpu"]
        status = cli.main(argv)
        return status, *capsys.readouterr()

    return call
