import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from comfy_server import REPOSITORY
from lacking import needs_careful_tqdm, needs_training
from PIL import Image, ImageCms
from small import assessor, denoiser, picture

from adaqual_core import cli
from adaqual_core.damage import degrade
from adaqual_core.imageio import read_picture, write_picture
from adaqual_core.quality.bundled import estimate_quality
from adaqual_core.quality.heatmap import heatmap
from adaqual_core.weight_files import save_model


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_model(denoiser(), folder / "model.safetensors", {})
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


def fails(result, message, status=1):
    """The run failed with one line on stderr, nothing on stdout."""
    found, out, err = result
    assert (found, out) == (status, "")
    assert err.startswith("adaqual: error: ") and err.count("\n") == 1 and "Traceback" not in err
    assert message in err and "internal error" not in err


def last_object(out):
    return json.loads(out.strip().splitlines()[-1])


def test_restore_writes_the_picture_and_reports(adaqual, tmp_path):
    status, out, err = adaqual("restore", "a.png", "new/b.png", "--json")
    assert status == 0 and err == ""
    report = last_object(out)
    assert set(report) == {
        "seconds",
        "steps",
        "mean_quality_before",
        "mean_quality_after",
        "tiles_total",
        "tiles_run",
        "peak_rss_mb",
    }
    assert report["steps"] == 2 and report["tiles_total"] == report["tiles_run"] == 2
    assert 1 <= report["mean_quality_before"] <= 5 and 1 <= report["mean_quality_after"] <= 5
    assert report["seconds"] > 0 and report["peak_rss_mb"] > 50
    before, after = read_picture(tmp_path / "a.png"), read_picture(tmp_path / "new" / "b.png")
    assert after.shape == before.shape and not torch.equal(before, after)
    assert sorted(os.listdir(tmp_path)) == ["a.png", "new"] and os.listdir(tmp_path / "new") == ["b.png"]


def test_options_reach_the_sampler(adaqual):
    def pixels(*options):
        assert adaqual("restore", "a.png", "b.png", *options)[0] == 0
        return read_picture("b.png")

    base = pixels()
    assert torch.equal(pixels("--seed", "0", "--steps", 2, "--schedule", "trailing", "--preserve", 4.5), base)
    assert (pixels("--tile", 64, "--overlap", 16) - base).abs().max() <= 1 / 255 + 1e-6
    for options in (["--seed", 1], ["--steps", 3], ["--schedule", "official"], ["--preserve", 3], ["--strength", 0.5]):
        assert not torch.equal(pixels(*options), base), options
    assert torch.equal(pixels("--strength", 0), read_picture("a.png"))


def test_what_is_preserved_is_identical_and_costs_nothing(adaqual):
    status, out, _ = adaqual("restore", "a.png", "b.png", "--preserve", 1, "--json")
    assert status == 0 and last_object(out)["tiles_run"] == 0
    assert torch.equal(read_picture("b.png"), read_picture("a.png"))


@pytest.mark.parametrize("height, width", [(1, 1), (7, 3000)])
def test_odd_sizes(adaqual, height, width):
    write_picture(picture(height, width), "odd.png")
    assert adaqual("restore", "odd.png", "b.png")[0] == 0
    assert read_picture("b.png").shape == (1, 3, height, width)


def test_grey_sixteen_bit_and_alpha(adaqual):
    values = (np.linspace(0, 65535, 600).reshape(20, 30)).astype(np.uint16)
    Image.fromarray(values).save("deep.png")
    Image.fromarray((values // 256).astype(np.uint8)).save("grey.png")
    write_picture(picture(20, 30, channels=4), "alpha.png")
    for name, channels in (("deep", 3), ("grey", 3), ("alpha", 4)):
        assert adaqual("restore", f"{name}.png", "b.png")[0] == 0
        assert read_picture("b.png").shape == (1, channels, 20, 30)
    assert torch.equal(read_picture("b.png")[:, 3], read_picture("alpha.png")[:, 3])


@pytest.mark.parametrize("name", ["b.jpg", "b.webp", "b.tif", "b.bmp"])
def test_other_kinds_of_output(adaqual, name):
    assert adaqual("restore", "a.png", name)[0] == 0
    assert read_picture(name).shape == (1, 3, 40, 70)


def test_the_colour_profile_is_kept(adaqual):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.open("a.png").save("tagged.jpg", icc_profile=profile)
    for name in ("b.png", "b.jpg", "b.webp", "b.tif"):
        assert adaqual("restore", "tagged.jpg", name)[0] == 0
        assert Image.open(name).info["icc_profile"] == profile


def test_a_folder(adaqual, tmp_path):
    write_picture(picture(20, 20), "in/one.jpg")
    write_picture(picture(30, 20), "in/two.PNG")
    (tmp_path / "in" / "notes.txt").write_text("not a picture")
    status, out, err = adaqual("restore", "in", "out", "--json")
    assert status == 0 and err == ""
    assert sorted(os.listdir("out")) == ["one.png", "two.png"]
    report = last_object(out)
    assert [entry["picture"] for entry in report["pictures"]] == ["one.jpg", "two.PNG"]
    assert report["tiles_total"] == 2 and report["failed"] == []
    assert report["seconds"] == pytest.approx(sum(entry["seconds"] for entry in report["pictures"]), abs=0.01)


def test_a_folder_with_one_truncated_picture(adaqual, tmp_path):
    for name in ("in/1.png", "in/2.png", "in/3.png"):
        write_picture(picture(60, 60), name)
    (tmp_path / "in" / "2.png").write_bytes((tmp_path / "in" / "2.png").read_bytes()[:3000])
    status, out, err = adaqual("restore", "in", "out", "--json")
    assert status == 1 and sorted(os.listdir("out")) == ["1.png", "3.png"]
    lines = err.splitlines()
    assert len(lines) == 2 and all(line.startswith("adaqual: error: ") for line in lines)
    assert "in/2.png: damaged or truncated" in lines[0] and "1 of 3 pictures failed: 2.png" in lines[1]
    assert last_object(out)["failed"] == ["2.png"]


def test_one_picture_into_a_folder_keeps_its_name(adaqual, tmp_path):
    (tmp_path / "folder.png").mkdir()
    assert adaqual("restore", "a.png", "folder.png")[0] == 0
    assert adaqual("degrade", "a.png", "folder.png", "--kinds", "haze")[0] == 0
    assert os.listdir(tmp_path / "folder.png") == ["a.png"]


def test_two_inputs_of_one_name(adaqual):
    write_picture(picture(20, 20), "in/one.jpg")
    write_picture(picture(20, 20), "in/one.png")
    write_picture(picture(20, 20), "in/two.png")
    assert adaqual("restore", "in", "out")[::2] == (0, "")
    assert sorted(os.listdir("out")) == ["one.jpg.png", "one.png.png", "two.png"]


def test_inputs_that_cannot_be(adaqual, tmp_path):
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:3000])
    Image.fromarray(np.full((20, 20), np.nan, np.float32)).save("nan.tif")
    for name, message in [
        ("missing.png", "missing.png: no such file"),
        ("text.png", "text.png: not a picture"),
        ("cut.png", "cut.png: damaged or truncated"),
        ("nan.tif", "nan.tif: holds NaN"),
        ("empty", "empty: no pictures in this folder"),
    ]:
        fails(adaqual("restore", name, "b.png" if name != "empty" else "out"), message)
        if name != "empty":
            fails(adaqual("quality", name, "--map", "b.png"), message)
            fails(adaqual("degrade", name, "b.png", "--kinds", "haze"), message)
    fails(adaqual("quality", "empty"), "empty: no pictures in this folder")
    fails(adaqual("degrade", "empty", "b.png", "--kinds", "haze"), "empty: is a folder")
    assert not os.path.exists("b.png") and not os.path.exists("out")


def test_outputs_that_cannot_be(adaqual, tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    write_picture(picture(20, 20, channels=4), "alpha.png")
    write_picture(picture(20, 20), "in/1.png")
    before = sorted(os.listdir(tmp_path))
    for argv, message in [
        (("a.png", "b.xyz"), "unknown kind of file '.xyz'; end the name in .png"),
        (("a.png", "file/b.png"), "cannot be written into"),
        (("alpha.png", "b.jpg"), "JPEG cannot hold the picture's alpha; write .png instead"),
        (("in", "file"), "file: is a file; give a folder"),
        (("in", "in"), "would replace an input"),
        (("a.png", "a.png"), "would replace an input"),
        (("a.png", "in/../a.png"), "would replace an input"),
    ]:
        fails(adaqual("restore", *argv), message)
        if argv[0] != "in":
            fails(adaqual("degrade", *argv, "--kinds", "haze"), message)
    assert sorted(os.listdir(tmp_path)) == before


def test_models_that_cannot_be(adaqual, weights, tmp_path):
    shutil.copy(weights / "model.safetensors", "cut.safetensors")
    with open("cut.safetensors", "r+b") as file:
        file.truncate(5000)
    good = ["--model", weights / "model.safetensors", "--assessor", weights / "assessor.safetensors"]
    for name, message in [
        ("missing.safetensors", "no such file"),
        ("cut.safetensors", "truncated"),
        ("a.png", "not a readable safetensors file"),
        (".", "no such file"),
    ]:
        fails(adaqual("restore", "a.png", "b.png", *good, "--model", name, models=False), message)
        fails(adaqual("restore", "a.png", "b.png", *good, "--assessor", name, models=False), message)
        fails(adaqual("quality", "a.png", "--assessor", name, models=False), message)
    swapped = ["--model", weights / "assessor.safetensors", "--assessor", weights / "assessor.safetensors"]
    fails(
        adaqual("restore", "a.png", "b.png", *swapped, models=False),
        "an AdaQual assessor of the first generation, but a restorer of",
    )
    assert not os.path.exists("b.png")


def test_a_model_that_gives_nan_is_an_error(adaqual, weights):
    model = denoiser()
    with torch.no_grad():
        model.ending.weight.fill_(3e38)
    save_model(model, "huge.safetensors", {})
    options = ["--model", "huge.safetensors", "--assessor", weights / "assessor.safetensors"]
    fails(adaqual("restore", "a.png", "b.png", *options, models=False), "NaN or infinity at tile (0, 0)")
    assert not os.path.exists("b.png")


@pytest.mark.parametrize(
    "option, value",
    [
        ("--steps", "0"),
        ("--steps", "1001"),
        ("--steps", "two"),
        ("--seed", "-1"),
        ("--seed", str(2**64)),
        ("--schedule", "karras"),
        ("--preserve", "0"),
        ("--preserve", "nan"),
        ("--strength", "1.1"),
        ("--strength", "nan"),
        ("--tile", "10"),
        ("--overlap", "-1"),
        ("--device", "abacus"),
        ("--device", "cpu:7"),
        ("--device", ""),
        ("--unknown", "1"),
    ],
)
def test_options_out_of_range_are_usage_errors(adaqual, option, value):
    result = adaqual("restore", "a.png", "b.png", option, value, models=False)
    fails(result, option, status=2)
    assert not os.path.exists("b.png")


@pytest.mark.parametrize(
    "argv, message",
    [
        ("", "required: COMMAND"),
        ("paint", "invalid choice: 'paint'"),
        ("restore", "required: IN, OUT"),
        ("restore a.png", "required: OUT"),
        ("quality", "required: IN"),
        ("degrade a.png b.png", "required: --kinds"),
        ("degrade a.png b.png --kinds fog", "--kinds: fog; choose from low, "),
        ("degrade a.png b.png --kinds ,", "--kinds: none given; choose from low, "),
        ("degrade a.png b.png --kinds haze --severity 1.5", "--severity: 1.5; give a number, 0 to 1"),
        ("degrade a.png b.png --kinds haze --severity nan", "--severity: nan; give a number, 0 to 1"),
        ("degrade a.png b.png --kinds haze --seed -1", "--seed: -1; give a whole number, 0 to"),
        ("evaluate --clean x", "required: --degraded"),
        ("evaluate --clean x --degraded y --steps 0", "--steps: 0; give a whole number, 1 to 1000"),
        pytest.param("train everything", "required: --recipe", marks=needs_training),
        pytest.param("train", "required: --recipe", marks=needs_training),
    ],
)
def test_wrong_usage(capsys, argv, message):
    fails((cli.main(argv.split()), *capsys.readouterr()), message, status=2)


@pytest.mark.parametrize(
    "command",
    [
        *([], ["restore"], ["quality"], ["degrade"], ["evaluate"], ["convert"], ["golden"]),
        pytest.param(["train"], marks=needs_training),
    ],
)
def test_help(capsys, command):
    with pytest.raises(SystemExit) as end:
        cli.main([*command, "--help"])
    assert end.value.code == 0 and "usage: adaqual" in capsys.readouterr().out


@needs_training
def test_training_needs_the_training_package(capsys, monkeypatch):
    for name in ("adaqual_training", "adaqual_training.__main__"):  # None: as if it were not installed
        monkeypatch.setitem(sys.modules, name, None)
    fails((cli.main(["train", "assessor"]), *capsys.readouterr()), "clone the repository", status=2)


def test_quality(adaqual, weights):
    status, out, err = adaqual("quality", "a.png", "--map", "map.png", "--heatmap", "heat.webp", "--json")
    assert status == 0 and err == ""
    report = last_object(out)
    quality = estimate_quality(assessor(), read_picture("a.png"))
    assert report["shape"] == [3, 5]
    for key, value in (("mean", quality.mean), ("min", quality.scores.min()), ("max", quality.scores.max())):
        assert report[key] == pytest.approx(float(value), abs=1e-3)
    with Image.open("map.png") as grey:
        assert grey.mode == "L" and grey.size == (70, 40)
        expected = (quality.resized(40, 70)[0, 0] - 1) / 4 * 255
        assert np.abs(np.asarray(grey) - expected.numpy()).max() <= 0.51
    assert read_picture("heat.webp").shape == heatmap(quality).shape


@pytest.mark.parametrize(
    "options, message",
    [
        (["--map", "map.jpg"], "end its name in .png"),
        (["--map", "a.png"], "would replace an input"),
        (["--map", "x.png", "--heatmap", "x.png"], "give two names"),
        (["--heatmap", "x.doc"], "unknown kind of file"),
    ],
)
def test_quality_outputs_that_cannot_be(adaqual, tmp_path, options, message):
    fails(adaqual("quality", "a.png", *options), message)
    assert os.listdir(tmp_path) == ["a.png"]


def test_degrade(adaqual):
    arguments = ("degrade", "a.png", "b.png", "--kinds", "rain, haze", "--severity", 0.6, "--seed", 1)
    status, out, err = adaqual(*arguments)
    assert status == 0 and err == "" and "rain, haze at severity 0.6" in out
    expected = degrade(read_picture("a.png")[0], ["haze", "rain"], 0.6, seed=1).picture
    assert (read_picture("b.png")[0] - expected).abs().max() <= 0.51 / 255
    write_picture(picture(20, 30, channels=4), "alpha.png")
    assert adaqual("degrade", "alpha.png", "c.png", "--kinds", "noise")[0] == 0
    assert torch.equal(read_picture("c.png")[:, 3], read_picture("alpha.png")[:, 3])


def test_evaluate(adaqual):
    for seed in range(2):
        clean = picture(24, 32, seed=seed)
        write_picture(clean, f"clean/{seed}.png")
        for kind in ("haze", "low"):
            write_picture(degrade(clean[0], [kind], 0.8, seed=seed).picture[None], f"bad/{kind}/{seed}.png")
    status, out, err = adaqual("evaluate", "--clean", "clean", "--degraded", "bad", "--json")
    assert status == 0 and err == ""
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["class", "haze", "low", "average"]
    report = last_object(out)
    assert list(report["classes"]) == ["haze", "low"] and report["average"]["pictures"] == 4
    for entry in (*report["classes"].values(), report["average"]):
        assert entry["psnr_gain"] == pytest.approx(entry["psnr_after"] - entry["psnr_before"])
        assert 1 <= entry["quality_before"] <= 5 and 1 <= entry["quality_after"] <= 5
    average = sum(report["classes"][kind]["psnr_after"] for kind in ("haze", "low")) / 2
    assert report["average"]["psnr_after"] == pytest.approx(average)


def test_evaluate_needs_partners(adaqual):
    write_picture(picture(24, 32), "clean/1.png")
    write_picture(picture(24, 32), "bad/2.png")
    fails(adaqual("evaluate", "--clean", "clean", "--degraded", "bad"), "no picture named 2")


def test_as_a_program(weights, tmp_path):
    write_picture(picture(40, 70), tmp_path / "a.png")
    models = ["--model", weights / "model.safetensors", "--assessor", weights / "assessor.safetensors"]
    command = [sys.executable, "-m", "adaqual_core", "restore", "a.png", "b.png", *models, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert last_object(done.stdout)["tiles_run"] == 2


@needs_careful_tqdm
def test_progress_on_a_terminal_and_interruption(weights, tmp_path):
    """The bar shows on stderr where that is a terminal; Ctrl-C ends with 130 and leaves the old file as it was."""
    write_picture(picture(512, 512), tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"old")
    models = ["--model", weights / "model.safetensors", "--assessor", weights / "assessor.safetensors"]
    options = ["--steps", "1000", "--tile", "64", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [sys.executable, "-m", "adaqual_core", "restore", "a.png", "b.png", *models, *options]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        shown, deadline, interrupted = b"", time.monotonic() + 120, False
        while time.monotonic() < deadline and select.select([ours], [], [], 60)[0]:
            try:
                block = os.read(ours, 4096)
            except OSError:  # so Linux ends a closed pseudo terminal
                block = b""
            if not block:
                break
            shown += block
            if b"batch/s" in shown and not interrupted:
                process.send_signal(signal.SIGINT)
                interrupted = True
        if not interrupted:
            process.kill()
        out, status = process.stdout.read(), process.wait(timeout=60)
    os.close(ours)
    assert status == 130 and out == b"" and b"adaqual: interrupted" in shown and b"Traceback" not in shown
    assert (tmp_path / "b.png").read_bytes() == b"old" and sorted(os.listdir(tmp_path)) == ["a.png", "b.png"]
