import argparse
import io
import os
import pickle
import tarfile
import zipfile

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small import disturb, restorer

from adaqual_core.errors import CheckpointError
from adaqual_core.networks.adaqual_diff import OfficialConfig, OfficialNet
from adaqual_core.networks.restorer import Restorer, load
from adaqual_core.networks.weather_diffusion import WeatherConfig, WeatherNet
from adaqual_core.published.read import convert, load_restorer, read_published
from adaqual_core.weight_files import save_model


def weights(network, seed=0):
    disturb(network, 0.1, seed)
    return {key: value.detach().clone() for key, value in network.state_dict().items()}


@pytest.fixture(scope="module")
def official():
    torch.manual_seed(0)
    return weights(OfficialNet(OfficialConfig(8, (1, 1), 1, (1, 1), 8, projections=(32,))))


@pytest.fixture(scope="module")
def weather():
    torch.manual_seed(0)
    return weights(WeatherNet(WeatherConfig(32, (32, 32), 1, (False, True), 32, 64)))


def lightning(official):
    """A file as Lightning writes it, with what the released training keeps beside the network."""
    return {
        "epoch": 3,
        "global_step": 10,
        "pytorch-lightning_version": "2.0.0",
        "state_dict": {
            **{f"model.{key}": value for key, value in official.items()},
            "condition_fusion.0.weight": torch.ones(2),
            "deqa_scorer.x": torch.ones(1),
            "lpips_fn.net.a": torch.ones(1),
            "lpips_fn.net.b": torch.ones(1),
        },
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}],
        "hyper_parameters": {"lr": 2e-4},
    }


def pth_tar(weather):
    """A file as WeatherDiffusion's training writes it: raw weights, moving average and its settings as a namespace."""
    return {
        "epoch": 1,
        "step": 2,
        "optimizer": {"state": {}, "param_groups": []},
        "state_dict": {f"module.{key}": torch.zeros_like(value) for key, value in weather.items()},
        "ema_helper": dict(weather),
        "params": argparse.Namespace(seed=61),
        "config": argparse.Namespace(data=argparse.Namespace(image_size=64)),
    }


def test_lightning_checkpoint(tmp_path, official):
    torch.save(lightning(official), tmp_path / "last-EMA.ckpt")
    read = convert(tmp_path / "last-EMA.ckpt", tmp_path / "out" / "net.safetensors")
    assert read.family == "adaqual_official"
    told = "; ".join(read.dropped)
    for words in (
        "optimizer_states",
        "hyper_parameters",
        "condition_fusion.* (1 ",
        "lpips_fn.* (2 ",
        "deqa_scorer.* (1 ",
    ):
        assert words in told
    stored = load_file(tmp_path / "out" / "net.safetensors")
    assert set(stored) == set(official) and all(torch.equal(stored[key], official[key]) for key in official)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["net.safetensors"]


def test_weatherdiffusion_checkpoint(tmp_path, weather):
    torch.save(pth_tar(weather), tmp_path / "x.pth.tar")
    read = convert(tmp_path / "x.pth.tar", tmp_path / "net.safetensors")
    assert read.family == "weatherdiffusion" and read.patch == 64
    told = "; ".join(read.dropped)
    assert "ema_helper, is used" in told and "optimizer" in told and "params" in told
    stored = load_file(tmp_path / "net.safetensors")
    assert all(torch.equal(stored[key], weather[key]) for key in weather)
    with safe_open(tmp_path / "net.safetensors", "pt") as file:
        assert file.metadata()["adaqual"] == "weatherdiffusion"
    for name in ("x.pth.tar", "net.safetensors"):
        net = load_restorer(tmp_path / name)
        assert isinstance(net, WeatherNet) and net.config.patch == 64 and not net.training
        assert torch.equal(net.conv_in.weight, weather["conv_in.weight"])


def test_moving_average_that_lacks_a_tensor(tmp_path, weather):
    content = pth_tar(weather)
    del content["ema_helper"]["conv_out.bias"]
    torch.save(content, tmp_path / "x.pth.tar")
    read = read_published(tmp_path / "x.pth.tar")
    assert torch.equal(read.tensors["conv_out.bias"], torch.zeros(3))
    assert torch.equal(read.tensors["conv_out.weight"], weather["conv_out.weight"])
    assert any("except 1 tensors that it lacks" in line for line in read.dropped)


@pytest.mark.parametrize("legacy", [False, True])
def test_plain_state_dicts_whatever_their_name(tmp_path, official, legacy):
    torch.save(
        {f"module.{key}": value for key, value in official.items()}, tmp_path / "x.jpg", _use_new_zipfile_serialization=not legacy
    )
    read = read_published(tmp_path / "x.jpg")
    assert read.family == "adaqual_official" and read.dropped == () and set(read.tensors) == set(official)


def test_patch_size_without_statement_comes_from_the_attention(tmp_path, weather):
    save_file(weather, tmp_path / "x.safetensors")
    assert load_restorer(tmp_path / "x.safetensors").config.patch == 32


def test_precision_is_kept_in_files_and_float32_is_loaded(tmp_path, official):
    torch.save({key: value.half() for key, value in official.items()}, tmp_path / "x.ckpt")
    convert(tmp_path / "x.ckpt", tmp_path / "x.safetensors")
    assert {value.dtype for value in load_file(tmp_path / "x.safetensors").values()} == {torch.float16}
    net = load_restorer(tmp_path / "x.safetensors", mode="prompted")
    assert isinstance(net, OfficialNet) and net.mode == "prompted"
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}


def test_tensors_that_share_memory(tmp_path, official):
    shared = dict(official)
    shared["encoders.0.0.gamma"] = shared["encoders.0.0.beta"]
    torch.save(shared, tmp_path / "x.ckpt")
    convert(tmp_path / "x.ckpt", tmp_path / "x.safetensors")
    stored = load_file(tmp_path / "x.safetensors")
    assert torch.equal(stored["encoders.0.0.gamma"], official["encoders.0.0.beta"])


def test_our_presets_load_through_the_same_door(tmp_path):
    save_model(restorer(), tmp_path / "x.safetensors", {})
    assert isinstance(load_restorer(tmp_path / "x.safetensors"), Restorer)
    with pytest.raises(CheckpointError, match="needs no conversion"):
        convert(tmp_path / "x.safetensors", tmp_path / "y.safetensors")


def test_converted_files_are_no_presets(tmp_path, official):
    torch.save(official, tmp_path / "x.ckpt")
    convert(tmp_path / "x.ckpt", tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="an AdaQual adaqual_official, but an AdaQual restorer of the second generation"):
        load(tmp_path / "x.safetensors")


RAN = []


class Malicious:
    def __reduce__(self):
        return RAN.append, ("code was run",)


class System:
    def __reduce__(self):
        return os.system, ("echo code was run",)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("payload", [Malicious(), System()], ids=["method", "system"])
def test_pickles_with_code_are_refused_and_not_run(tmp_path, official, payload, legacy, capfd):
    content = {"state_dict": official, "evil": payload}
    torch.save(content, tmp_path / "x.ckpt", _use_new_zipfile_serialization=not legacy)
    for use in (load_restorer, lambda path: convert(path, tmp_path / "out.safetensors")):
        with pytest.raises(CheckpointError, match="refused, because loading it would run code.*nothing of it was run"):
            use(tmp_path / "x.ckpt")
    assert not RAN and "code was run" not in capfd.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["x.ckpt"]


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def page(path):
    path.write_text("<html>404: not found</html>")


def archive(path):
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("weights.pth"), io.BytesIO())


def foreign_zip(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("hello.txt", "hello")


def plain_pickle(path):
    path.write_bytes(pickle.dumps({"a": 1}, protocol=4))


def number(path):
    torch.save(3, path)


def nothing(path):
    torch.save({"epoch": 3}, path)


def foreign(path):
    torch.save({"unet.conv.weight": torch.ones(2)}, path)


def flipped(path):
    data = bytearray(path.read_bytes())
    at = data.find(b"data.pkl") + 40
    data[at : at + 60] = b"\xff" * 60
    path.write_bytes(data)


def one_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def changed(change):
    def damage(path):
        content = torch.load(path, weights_only=True)
        change(content)
        torch.save(content, path)

    return damage


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "damage, problem",
    [
        (half, "not a readable checkpoint.*truncated"),
        (flipped, "not a readable checkpoint|refused"),
        (one_bit, "x.ckpt: damaged .wrong checksum of"),
        (empty, "empty file"),
        (page, "not a readable safetensors file, and no PyTorch checkpoint"),
        (archive, "a tar archive.*unpack"),
        (foreign_zip, "not a readable checkpoint"),
        (plain_pickle, "not a readable checkpoint"),
        (number, "holds a int, no checkpoint"),
        (nothing, "no tensors"),
        (foreign, "nearest layout.*missing"),
        (changed(lambda c: c.pop("intro.bias")), "missing: intro.bias"),
        (changed(lambda c: c.update(more=torch.ones(1))), "unexpected: more"),
        (changed(lambda c: c.update({"intro.bias": torch.ones(5)})), "wrong shape: intro.bias"),
        (changed(lambda c: c["intro.bias"].fill_(float("inf"))), "NaN or infinity in intro.bias"),
        (changed(lambda c: c.update({"intro.bias": torch.ones(8, dtype=torch.long)})), "intro.bias is torch.int64"),
    ],
)
def test_damaged_files_are_refused_before_anything_is_written(tmp_path, official, damage, problem):
    path = tmp_path / "x.ckpt"
    torch.save(official, path)
    damage(path)
    for use in (load_restorer, lambda path: convert(path, tmp_path / "out.safetensors")):
        with pytest.raises(CheckpointError, match=problem) as found:
            use(path)
        assert str(path) in str(found.value) and "\n" not in str(found.value)
    assert [each.name for each in tmp_path.iterdir()] == ["x.ckpt"]


@pytest.mark.parametrize("length", [20, 4000, -100])
def test_truncated_safetensors(tmp_path, official, length):
    save_file(official, tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").write_bytes((tmp_path / "x.safetensors").read_bytes()[:length])
    with pytest.raises(CheckpointError, match="not a readable safetensors file.*truncated"):
        load_restorer(tmp_path / "x.safetensors")


def test_targets(tmp_path, official):
    torch.save(official, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="ends in .safetensors"):
        convert(tmp_path / "x.ckpt", tmp_path / "y.ckpt")
    (tmp_path / "there.safetensors").write_text("precious")
    with pytest.raises(CheckpointError, match="exists already"):
        convert(tmp_path / "x.ckpt", tmp_path / "there.safetensors")
    assert (tmp_path / "there.safetensors").read_text() == "precious"
    with pytest.raises(CheckpointError, match="no such file"):
        convert(tmp_path / "missing.ckpt", tmp_path / "z.safetensors")


def test_interrupted_writing_leaves_nothing(tmp_path, official, monkeypatch):
    torch.save(official, tmp_path / "x.ckpt")

    def fail(tensors, path, header):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("adaqual_core.published.read.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        convert(tmp_path / "x.ckpt", tmp_path / "y.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["x.ckpt"]
