"""``adaqual convert`` and ``adaqual golden``."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small import assessor, disturb, official, picture, save_lightning, save_weatherdiffusion

from adaqual_core import cli
from adaqual_core.imageio import read_picture, write_picture
from adaqual_core.networks.adaqual_diff import OfficialConfig, OfficialNet
from adaqual_core.weight_files import save_model

GOLDEN = Path(__file__).parent / "golden"
FAMILIES = {
    "adaqual_official_a": "adaqual_official",
    "adaqual_official_b": "adaqual_official",
    "weatherdiffusion_a": "weatherdiffusion",
    "deqa_a": "deqa",
}


@pytest.mark.parametrize("stem, family", FAMILIES.items())
def test_golden_files_pass(capsys, stem, family):
    assert cli.main(["golden", str(GOLDEN / f"{stem}.safetensors"), "--json"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out.splitlines()[-1])
    outputs = {key.removeprefix("out.") for key in load_file(GOLDEN / f"{stem}.safetensors") if key.startswith("out.")}
    assert set(report) == {"family", "outputs", "max_rel_err"} and report["family"] == family
    assert set(report["outputs"]) == outputs and err == ""
    assert report["max_rel_err"] == max(report["outputs"].values()) < 1e-4
    assert "passed" in out and "ABOVE" not in out


@pytest.mark.parametrize("spoil", [lambda x: x * 1.01, lambda x: x * float("nan"), lambda x: x[:, 1:].contiguous()])
def test_other_outputs_fail(tmp_path, capsys, spoil):
    source = GOLDEN / "adaqual_official_a.safetensors"
    tensors = load_file(source)
    with safe_open(source, "pt") as file:
        header = file.metadata()
    tensors["out.predicted_residual"] = spoil(tensors["out.predicted_residual"])
    save_file(tensors, tmp_path / "x.safetensors", header)
    assert cli.main(["golden", str(tmp_path / "x.safetensors"), "--json"]) == 1
    out, _ = capsys.readouterr()
    assert "predicted_residual" in next(line for line in out.splitlines() if "ABOVE the tolerance of 0.0001" in line)
    report = json.loads(out.splitlines()[-1], parse_constant=pytest.fail)  # neither NaN nor Infinity is JSON
    assert report["max_rel_err"] > 5e-3


def test_no_golden_file(tmp_path, capsys):
    (tmp_path / "x.safetensors").write_bytes(b"text")
    for name, message in (("x.safetensors", "not a readable golden file"), ("y.safetensors", "no such file")):
        assert cli.main(["golden", str(tmp_path / name)]) == 1
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("adaqual: error: ") and message in err


def test_convert_says_what_it_dropped(tmp_path, capsys):
    torch.manual_seed(0)
    network = OfficialNet(OfficialConfig(8, (1, 1), 1, (1, 1), 8))
    disturb(network, 0.1, 0)
    weights = {f"model.{key}": value for key, value in network.state_dict().items()}
    content = {"epoch": 3, "state_dict": {**weights, "lpips_fn.a": torch.ones(1)}, "optimizer_states": [{}]}
    torch.save(content, tmp_path / "last-EMA.ckpt")
    command = ["convert", str(tmp_path / "last-EMA.ckpt"), str(tmp_path / "out.safetensors")]
    assert cli.main(command) == 0
    out, err = capsys.readouterr()
    assert err == "" and f"out.safetensors: adaqual_official, {len(weights)} tensors" in out
    assert {line.strip().split(" ")[1] for line in out.splitlines()[1:]} == {"epoch", "optimizer_states", "lpips_fn.*"}
    assert len(load_file(tmp_path / "out.safetensors")) == len(weights)
    assert cli.main(command) == 1  # it is there already
    assert "exists already" in capsys.readouterr().err
    assert cli.main(["convert", str(tmp_path / "out.safetensors"), str(tmp_path / "again.safetensors")]) == 0
    assert "nothing dropped" in capsys.readouterr().out


@pytest.fixture
def restore(tmp_path, capsys):
    """Run ``adaqual restore`` on a small picture with a model of that name: status, stdout, stderr."""
    write_picture(picture(40, 70), tmp_path / "a.png")
    save_model(assessor(), tmp_path / "assessor.safetensors", {})

    def call(model, *options):
        argv = [
            "restore",
            tmp_path / "a.png",
            tmp_path / "b.png",
            "--model",
            tmp_path / model,
            "--device",
            "cpu",
            "--assessor",
            tmp_path / "assessor.safetensors",
            "--preserve",
            5,
            *options,
        ]
        return cli.main([str(x) for x in argv]), *capsys.readouterr()

    return call


@pytest.mark.parametrize("name, save, steps", [("x.ckpt", save_lightning, 2), ("x.pth.tar", save_weatherdiffusion, 25)])
def test_published_checkpoints_restore_with_their_own_steps(restore, capsys, tmp_path, name, save, steps):
    save(tmp_path / name)
    assert cli.main(["convert", str(tmp_path / name), str(tmp_path / "x.safetensors")]) == 0
    capsys.readouterr()
    results = []
    for model in (name, "x.safetensors"):
        status, out, err = restore(model, "--json")
        report = json.loads(out.splitlines()[-1])
        assert status == 0 and err == "" and report["steps"] == steps and report["tiles_run"] > 0
        results.append(read_picture(tmp_path / "b.png"))
    before = read_picture(tmp_path / "a.png")
    assert torch.equal(*results) and results[0].shape == before.shape and not torch.equal(results[0], before)
    assert restore(name, "--steps", 3)[0] == 0
    assert not torch.equal(read_picture(tmp_path / "b.png"), results[0])


def test_options_of_the_families(restore, tmp_path):
    save_weatherdiffusion(tmp_path / "x.pth.tar")
    save_lightning(tmp_path / "x.ckpt")

    def pixels(*options):
        assert restore(*options)[0] == 0
        return read_picture(tmp_path / "b.png")

    base = pixels("x.pth.tar", "--steps", 2)
    assert (pixels("x.pth.tar", "--steps", 2, "--patch-batch", 1) - base).abs().max() <= 1 / 255 + 1e-6
    assert not torch.equal(pixels("x.pth.tar", "--steps", 2, "--stride", 8), base)
    assert not torch.equal(pixels("x.ckpt", "--mode", "prompted"), pixels("x.ckpt"))
    assert "stride: 33; give 1 to the patch's 32 px" in restore("x.pth.tar", "--stride", 33)[2]
    for option, value in (("--stride", 0), ("--patch-batch", 0), ("--mode", "both")):
        status, out, err = restore("x.ckpt", option, value)
        assert status == 2 and out == "" and option in err


def malicious(path):
    torch.save({"state_dict": official().state_dict(), "evil": print}, path)


def half_written(path):
    save_lightning(path)
    content = torch.load(path, weights_only=True)
    content["state_dict"]["model.ending.weight"].zero_()
    torch.save(content, path)


def changed(size, flip=None):
    """A file that ends after this share, or whose byte there is another."""

    def damage(path):
        save_lightning(path)
        content = bytearray(path.read_bytes())
        place = int(size * len(content))
        if flip:
            content[place] ^= flip
        path.write_bytes(content if flip else content[:place])

    return damage


@pytest.mark.parametrize(
    "damage, message",
    [
        (changed(0.5), "it may be truncated or half-written: download it again"),
        (changed(0.5, flip=1), "damaged (wrong checksum of"),
        (half_written, "ending.weight holds nothing but zeros; the file is half-written"),
        (malicious, "print); nothing of it was run"),  # older versions of torch name its module too
        (lambda path: torch.save({"intro.weight": torch.ones(8, 6, 3, 3)}, path), "nearest layout: AdaQual"),
        (lambda path: path.write_bytes(b""), "empty file"),
        (lambda path: path.write_text("<html>not found</html>"), "no PyTorch checkpoint"),
    ],
)
def test_damaged_checkpoints_are_refused_before_anything_runs(restore, tmp_path, damage, message):
    damage(tmp_path / "x.ckpt")
    status, out, err = restore("x.ckpt")
    assert status == 1 and out == "" and message in err and "x.ckpt" in err and err.count("\n") == 1
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize("argv", [["golden"], ["convert", "x.ckpt"], ["golden", "x", "--tolerance", "1"]])
def test_wrong_usage(capsys, argv):
    assert cli.main(argv) == 2
    assert capsys.readouterr().err.startswith("adaqual: error: ")
