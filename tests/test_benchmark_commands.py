"""The other benchmarks, each on small pictures and networks: what they print is right, not only there."""

import json
import sys
from pathlib import Path

import benchmark_package
import numpy as np
import pytest
import small_deqa
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from small import assessor, picture, restorer

from adaqual_core.evaluate import psnr
from adaqual_core.imageio import write_picture
from adaqual_core.weight_files import save_model
from benchmarks import assessor as assessing
from benchmarks import (
    classical,
    deqa_full_size,
    killed,
    public,
    public_set,
    published,
    reference_models,
    throughput,
    video,
)

RECIPES = Path(__file__).parent / "training" / "recipes"


# ---- classical methods


@pytest.mark.parametrize(
    "method, kind",
    [
        ("dark channel prior", "haze"),
        ("gamma", "low"),
        ("CLAHE", "low"),
        ("LIME-style", "low"),
        ("non-local means", "noise"),
        ("median 5×5", "noise"),
        ("guided filter", "noise"),
    ],
)
def test_a_classical_method_undoes_its_damage(method, kind):
    if method == "non-local means":
        pytest.importorskip("pywt", reason="needs requirements-benchmarks.txt")
    ramp = torch.linspace(0.1, 0.9, 96)
    clean = (ramp[:, None] * torch.tensor([1.0, 0.8, 0.6]).view(3, 1, 1) * (0.6 + 0.4 * (ramp > 0.5))).expand(1, 3, 96, 96)
    damaged = {
        "haze": 0.4 * clean + 0.5,
        "low": (clean**2.2) * 0.5,
        "noise": (clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1),
    }[kind]
    found = classical.METHODS[method](public.to_bytes(damaged))
    assert found.dtype == np.uint8 and found.shape == (96, 96, 3)
    assert psnr(published.as_tensor(found), clean) > psnr(damaged, clean) + 1


# ---- the public set


def test_the_public_set_is_damaged_alike_in_every_run(tmp_path, monkeypatch):
    monkeypatch.setattr(public_set, "PHOTOS", public_set.PHOTOS[:1])
    for name in ("first", "second"):
        public_set.main(["--only", "low", "composition", "--out", str(tmp_path / name)])
    files = [path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*.png")]
    assert len([path for path in files if path.parts[0] == "degraded"]) == 6
    for path in files:
        first, second = ((tmp_path / name / path).read_bytes() for name in ("first", "second"))
        assert first == second, path
        if path.parts[0] == "degraded":
            pair = (tmp_path / "first" / "clean" / path.name, tmp_path / "first" / path)
            clean, damaged = (np.asarray(Image.open(file), float) for file in pair)
            assert np.abs(clean - damaged).mean() > 3, path


def test_corruptions_damage():
    pytest.importorskip("imagecorruptions", reason="needs requirements-benchmarks.txt")
    pixels = public.to_bytes(picture(64, 64))
    assert np.abs(public_set.damage(pixels, ["fog", 3], 0).astype(float) - pixels).mean() > 3
    assert len(assessing.corruption_names()) == 19


def test_throughput_is_of_the_run_and_of_the_network(corpus, capsys):
    options = ["--recipe", str(RECIPES / "assessor.toml"), "--corpus", str(corpus), "--updates", "2", "--device", "cpu"]
    throughput.main(options)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["with_data"] > 0 and found["network_alone"] > 0
    assert found["data_costs"] == pytest.approx(1 - found["with_data"] / found["network_alone"], abs=0.02)


def test_bit_equality_is_seen_and_its_loss_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [*sys.path])  # the benchmark puts the repository's root there
    from benchmarks import bit_equal

    write_picture(picture(60, 72), tmp_path / "photos" / "one.png")
    file = tmp_path / "outputs.safetensors"
    assert bit_equal.main([str(file), "--photos", str(tmp_path / "photos")]) == 0
    assert bit_equal.main([str(file)]) == 0 and "differing: none" in capsys.readouterr().out
    kept = load_file(file)
    changed = next(name for name in kept if name.startswith("restored."))
    kept[changed] += 1e-7
    save_file(kept, file)
    assert bit_equal.main([str(file)]) == 1 and f"differing: {changed}" in capsys.readouterr().out


# ---- DeQA-Score, reference code


def test_deqa_at_full_size_compares_and_cleans_up(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(deqa_full_size, "PUBLISHED", small_deqa.CONFIG)
    monkeypatch.chdir(benchmark_package.ROOT)
    deqa_full_size.main(["--layers", "2", "--tiles", "2", "--folder", str(tmp_path / "shards")])
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    assert [row["offloaded"] for row in rows] == [False, True] and not (tmp_path / "shards").exists()
    assert all(row["tiles"] == 2 and row["largest_difference"] < 1e-3 for row in rows)


def test_deqa_at_full_size_measures_one_tile(tmp_path):
    config = small_deqa.CONFIG | {"num_hidden_layers": 2}
    small_deqa.write(tmp_path, small_deqa.network(config), config)
    found = deqa_full_size.measure(tmp_path)
    assert found["load_seconds"] >= 0 and found["next_tile_seconds"] >= 0
    assert found["peak_by_weights"] >= found["load_peak_by_weights"]


PIPELINE = """
import torch
from adaqual_core.sampling.ddim import Estimate, ddim

class SR3scheduler:
    def set_timesteps(self, steps):
        self.steps = {2: [500, 0]}[steps]

class SR3Sampler:
    def __init__(self, model, scheduler):
        self.model, self.scheduler = model, scheduler

    def sample_high_res(self, picture):
        def predict(state, t):
            residual = self.model(picture, state, torch.tensor([t]))
            return Estimate(residual.clamp(-1, 1), residual)

        return {"sample": ddim(predict, torch.randn_like(picture), self.scheduler.steps)}
"""
ARCHITECTURE = "from adaqual_core.networks.adaqual_diff import OfficialNet as NAFNet\n"


def test_reference_code_is_compared_on_the_same_noise(tmp_path, monkeypatch):
    """A stand-in for the authors' checkout, with their names and our network, must give our result."""
    for name, text in (("diffusion_pl/pipeline", PIPELINE), ("models_prompt/modules/DenoisingNAFNet_arch", ARCHITECTURE)):
        file = tmp_path / f"{name}.py"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(reference_models.KINDS, "adaqual", (reference_models.official, 64, 32))
    try:
        found = reference_models.compare("adaqual", tmp_path, "cpu", 1)
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] in ("diffusion_pl", "models_prompt")]:
            del sys.modules[name]
    assert found["largest difference"] < 1e-3 < found["largest change of the picture"]
    assert all(len(found[key][side]) == 1 for key in ("seconds", "processor seconds") for side in ("theirs", "ours"))


# ---- clips, and killed runs


def test_a_clip_that_is_seen_truly_has_no_flicker_and_its_motion_is_undone():
    pan, cut = video.make_clip("pan", "clean", 6), video.make_clip("cut", "dark", 6)
    assert torch.equal(pan.truth, pan.damaged) and not torch.equal(cut.truth, cut.damaged)
    figures = video.measure(pan, pan.truth)
    assert figures["step"] == figures["worst step"] == 0 and figures["psnr"] > 90
    unmoved = 255 * (pan.truth[1:] - pan.truth[:-1]).abs().mean()
    assert figures["warped"] < 0.2 * unmoved
    assert cut.cut == 3 and video.measure(cut, cut.truth)["worst step"] == 0
    brighter = pan.truth.clone()
    brighter[3] += 10 / 255
    assert video.measure(pan, brighter)["worst step"] == pytest.approx(10, abs=0.01)


def test_clips_are_restored_with_and_without_a_window(tmp_path, capsys):
    save_model(restorer(), tmp_path / "model.safetensors", {})
    save_model(assessor(), tmp_path / "assessor.safetensors", {})
    models = ["--model", str(tmp_path / "model.safetensors"), "--assessor", str(tmp_path / "assessor.safetensors")]
    video.main([*models, "--temporal", "3", "--frames", "4", "--clip", "ramp-hazy"])
    printed = capsys.readouterr().out.splitlines()
    ((name, rows),) = json.loads(printed[-1]).items()
    assert name == "ramp, hazy" and list(rows) == ["input", "0", "3"]
    clip = video.make_clip("ramp", "hazy", 4)
    assert rows["input"] == video.measure(clip, clip.damaged)
    assert rows["0"] != rows["input"] != rows["3"] != rows["0"]
    assert f"| ramp, hazy | 3 | {rows['3']['step']:.2f} | {rows['3']['worst step']:.2f} |" in printed[-2]


def test_a_killed_run_leaves_whole_files(capsys, monkeypatch):
    monkeypatch.setattr(killed, "PICTURES", 2)
    monkeypatch.setattr(killed, "HEIGHT", 64)
    monkeypatch.setattr(killed, "WIDTH", 64)
    assert killed.main(["--kills", "1", "--seed", "1"]) == 0  # of seed 1, the moment lies early in the run
    found = json.loads(capsys.readouterr().out)
    assert found["kills"] == found["killed before the end"] == 1 and found["seconds of a whole run"] > 0
    assert found["half files"] == found["other files"] == found["inputs changed"] == 0
