import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small import assessor, picture, restorer

from adaqual_core.errors import CheckpointError
from adaqual_core.networks.restorer import PRESETS, load
from adaqual_core.quality.bundled import estimate_quality, load_assessor
from adaqual_core.weight_files import save_model


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "models" / "restorer.safetensors"
    save_model(restorer(), path, {"trained": "never"})
    return path


def rewrite(path, change_tensors=None, change_header=None):
    """The file again with other tensors or another header."""
    with safe_open(path, "pt") as file:
        header = dict(file.metadata())
    tensors = load_file(path)
    if change_tensors:
        change_tensors(tensors)
    if change_header:
        change_header(header)
    save_file(tensors, path, header)


def test_restorer_round_trip(saved):
    found = load(saved)
    original = restorer()
    assert found.config == original.config and not found.training
    assert not any(p.requires_grad for p in found.parameters())
    for (name, a), (other, b) in zip(original.state_dict().items(), found.state_dict().items(), strict=True):
        assert name == other and torch.equal(a, b)
    with safe_open(saved, "pt") as file:
        assert json.loads(file.metadata()["notes"]) == {"trained": "never"}


def test_assessor_round_trip(tmp_path):
    path = tmp_path / "assessor.safetensors"
    save_model(assessor(), path, {})
    pixels = picture(40, 50)
    scores = [estimate_quality(net, pixels).scores for net in (assessor(), load_assessor(path))]
    assert torch.equal(*scores)


def test_half_precision_files_load_as_float32(tmp_path):
    path = tmp_path / "half.safetensors"
    save_model(restorer(), path, {}, torch.bfloat16)
    assert load_file(path)["denoiser.intro.weight"].dtype == torch.bfloat16
    found = load(path)
    assert {p.dtype for p in found.parameters()} == {torch.float32}
    assert torch.allclose(found.denoiser.intro.weight, restorer().denoiser.intro.weight, rtol=0.01, atol=1e-3)


def test_saving_leaves_no_other_file(saved):
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


def truncate_header(path):
    path.write_bytes(path.read_bytes()[:100])


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("<html>404: not found</html>")


def foreign(path):
    save_file({"model.diffusion_model.weight": torch.ones(3)}, path)


def another_kind(path):
    save_model(assessor(), path, {})


def missing_key(path):
    rewrite(path, lambda tensors: tensors.pop("denoiser.intro.weight"))


def odd_key(path):
    rewrite(path, lambda tensors: tensors.update(surplus=torch.ones(1)))


def wrong_shape(path):
    rewrite(path, lambda tensors: tensors.update({"denoiser.intro.bias": torch.ones(3)}))


def nan(path):
    rewrite(path, lambda tensors: tensors["denoiser.intro.bias"].fill_(float("nan")))


def no_config(path):
    rewrite(path, None, lambda header: header.pop("config"))


def broken_config(path):
    rewrite(path, None, lambda header: header.update(config="{"))


def other_version(path):
    def change(header):
        header["config"] = json.dumps({**json.loads(header["config"]), "future": 1})

    rewrite(path, None, change)


@pytest.mark.parametrize(
    "damage, problem, remedy",
    [
        (truncate, "truncated", "download it again"),
        (truncate_header, "truncated", "download it again"),
        (empty, "truncated", "download it again"),
        (text, "not a readable safetensors file", "download it again"),
        (foreign, "not an AdaQual file.*model.diffusion_model.weight", "choose another file"),
        (
            another_kind,
            "an AdaQual assessor of the second generation, but an AdaQual restorer of the second generation",
            "choose another file",
        ),
        (missing_key, "missing.*denoiser.intro.weight", "download it again"),
        (odd_key, "unexpected.*surplus", "download it again"),
        (wrong_shape, "shaped: denoiser.intro.bias", "download it again"),
        (nan, "NaN or infinity in denoiser.intro.bias", "download it again"),
        (no_config, "unreadable configuration", "download the file again"),
        (broken_config, "unreadable configuration", "download the file again"),
        (other_version, "differs in future", "another version"),
    ],
)
def test_refusals_name_file_problem_and_remedy(saved, damage, problem, remedy):
    damage(saved)
    with pytest.raises(CheckpointError, match=problem) as found:
        load(saved)
    assert str(saved) in str(found.value) and remedy in str(found.value)


@pytest.mark.parametrize("name", ["missing.safetensors", "."])
def test_not_a_file(tmp_path, name):
    with pytest.raises(CheckpointError, match="no such file.*give the path"):
        load_assessor(tmp_path / name)


@pytest.mark.parametrize("config", ["[]", "7", None])
def test_a_damaged_configuration_is_refused(tmp_path, config):
    path = tmp_path / "damaged.safetensors"
    if config is None:
        good = {name: getattr(PRESETS["nano"], name) for name in PRESETS["nano"].__dataclass_fields__}
        config = json.dumps(good | {"middle": -1})
    save_file({"x": torch.zeros(1)}, path, {"adaqual": "restorer", "config": config})
    with pytest.raises(CheckpointError, match="damaged.safetensors.*download"):
        load(path)
