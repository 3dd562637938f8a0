"""``adaqual convert`` and ``adaqual golden``."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small import disturb

from adaqual_core import cli
from adaqual_core.official import OfficialConfig, OfficialNet

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


@pytest.mark.parametrize("argv", [["golden"], ["convert", "x.ckpt"], ["golden", "x", "--tolerance", "1"]])
def test_wrong_usage(capsys, argv):
    assert cli.main(argv) == 2
    assert capsys.readouterr().err.startswith("adaqual: error: ")
