"""``adaqual restore`` of pictures and folders."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from command_line import last_object
from PIL import Image, ImageCms
from small import picture

from adaqual_core.imageio import read_picture, write_picture


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


def test_the_reported_memory_is_that_of_the_process_and_not_of_the_one_that_started_it():
    asked = "from adaqual_core.cli.chain import peak_rss_mb; print(peak_rss_mb())"
    parent = "import subprocess, sys; held = b'1' * 2 * 2**30; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
    found = subprocess.run([sys.executable, "-c", parent, asked], check=True, capture_output=True, text=True).stdout
    assert 50 < float(found) < 1.5 * 2**10


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
