"""Kinds of damage on the command line: what is kept, removed, assumed and reported."""

import json

import pytest
import small
import torch
from small_clip import write_clip

from adaqual_core import cli
from adaqual_core.imageio import read_picture, write_picture
from adaqual_core.kinds import KINDS
from adaqual_core.prompt import PromptSettings, build_prompt
from adaqual_core.quality import naming
from adaqual_core.quality.assess import assess
from adaqual_core.quality.bundled import estimate_quality
from adaqual_core.quality.clip_iqa import load_clip_iqa
from adaqual_core.quality.heatmap import kinds_sheet
from adaqual_core.quality.naming import with_kinds
from adaqual_core.quality.set_damage import set_damage
from adaqual_core.sampling.restore import restore
from adaqual_core.weight_files import save_model


def blind_assessor():
    """An assessor that sees no damage at all."""
    net = small.assessor()
    with torch.no_grad():
        net.head.weight.zero_()
        net.head.bias.fill_(-20)
    return net


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_model(small.restorer(), folder / "model.safetensors", {})
    save_model(small.assessor(), folder / "own.safetensors", {})
    save_model(blind_assessor(), folder / "blind.safetensors", {})
    write_clip(folder / "clip")
    return folder


@pytest.fixture
def adaqual(weights, tmp_path, capsys, monkeypatch):
    """Run the command line in a folder with a picture a.png: status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    write_picture(small.picture(70, 90), tmp_path / "a.png")

    def call(*argv, assessor="own.safetensors"):
        argv = [*argv, "--assessor", f"{weights}/{assessor}", "--device", "cpu"]
        argv += ["--model", f"{weights}/model.safetensors"] if argv[0] == "restore" else []
        status = cli.main(argv)
        return status, *capsys.readouterr()

    return call


def restored(adaqual, *options, **judge):
    status, out, err = adaqual("restore", "a.png", "b.png", "--json", *options, **judge)
    assert status == 0, err
    return read_picture("b.png"), json.loads(out.splitlines()[-1])


def fails(result, status, *parts):
    assert result[0] == status and result[1] == ""
    assert result[2].startswith("adaqual: error: ") and result[2].count("\n") == 1
    assert all(part in result[2] for part in parts), result[2]


@pytest.mark.parametrize(
    "options, kept, assumed",
    [
        ((), (), {}),
        (("--keep", "rain, noise"), ("rain", "noise"), {}),
        (("--only", "haze"), tuple(kind for kind in KINDS if kind != "haze"), {}),
        (("--assume", "haze=1,low=0.5"), (), {"haze": 1.0, "low": 0.5}),
        (("--only", "low", "--assume", "low=.9"), tuple(kind for kind in KINDS if kind != "low"), {"low": 0.9}),
    ],
)
def test_options_reach_the_prompt(adaqual, options, kept, assumed):
    picture = read_picture("a.png")
    quality = estimate_quality(small.assessor(), picture)
    for kind, severity in assumed.items():
        quality = set_damage(quality, kind, severity)
    settings = PromptSettings(factors=tuple(float(kind not in kept) for kind in KINDS))
    expected = restore(small.restorer(), picture, build_prompt(picture, quality, settings)).picture
    found, _ = restored(adaqual, *options)
    assert (found - expected).abs().max() <= 0.51 / 255
    assert not options or not torch.equal(found, restored(adaqual)[0])


def test_everything_kept_is_untouched(adaqual):
    found, report = restored(adaqual, "--keep", ",".join(KINDS))
    assert torch.equal(found, read_picture("a.png")) and report["tiles_run"] == 0


def test_what_is_assumed_of_a_clean_picture_is_restored(adaqual):
    found, report = restored(adaqual, assessor="blind.safetensors")
    assert report["tiles_run"] == 0 and torch.equal(found, read_picture("a.png"))
    found, report = restored(adaqual, "--assume", "haze=0.7", assessor="blind.safetensors")
    assert report["tiles_run"] == report["tiles_total"] and not torch.equal(found, read_picture("a.png"))
    assert report["mean_quality_before"] > 4.9  # what the assessor saw


@pytest.mark.parametrize(
    "options, parts",
    [
        (("--keep", "fog"), ("--keep: fog", "choose from low, rain, snow, haze, raindrops, blur, noise, jpeg")),
        (("--only", "haze,fog,mist"), ("--only: fog, mist", "choose from")),
        (("--keep", ""), ("--keep: none given",)),
        (("--keep", "rain", "--only", "haze"), ("--keep, --only", "give one of them")),
        (("--assume", "fog=0.5"), ("--assume: fog", "choose from")),
        (("--assume", "haze"), ("--assume: 'haze'", "haze=0.7")),
        (("--assume", "haze=much"), ("--assume: 'haze=much'", "0 to 1")),
        (("--assume", "haze=1.5"), ("--assume: 'haze=1.5'", "0 to 1")),
        (("--assume", "haze=nan"), ("--assume: 'haze=nan'", "0 to 1")),
        (("--assume", "haze=0.5,haze=0.6"), ("--assume: haze is given twice",)),
        (("--assume", "haze=0.5,"), ("--assume: none given",)),
    ],
)
def test_wrong_choices_are_refused_with_the_list(adaqual, tmp_path, options, parts):
    fails(adaqual("restore", "a.png", "b.png", *options), 2, *parts)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_heatmap_by_kind_needs_an_assessor_that_names_kinds(adaqual, tmp_path):
    fails(adaqual("quality", "a.png", "--heatmap", "h.png", "--by-kind", assessor="clip"), 1, "--by-kind", "names no kinds")
    fails(adaqual("quality", "a.png", "--by-kind"), 2, "--by-kind", "give --heatmap")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_quality_reports_and_shows_the_kinds(adaqual):
    status, out, _ = adaqual("quality", "a.png", "--heatmap", "h.png", "--by-kind", "--json")
    quality = estimate_quality(small.assessor(), read_picture("a.png"))
    assert status == 0
    found = json.loads(out.splitlines()[-1])["kinds"]
    assert list(found) == list(KINDS)
    assert list(found.values()) == pytest.approx(quality.kinds.mean((0, 2, 3)).tolist(), abs=1e-3)
    assert (read_picture("h.png") - kinds_sheet(quality)).abs().max() <= 0.51 / 255
    status, out, _ = adaqual("quality", "a.png", "--json", assessor="clip")
    assert status == 0 and json.loads(out.splitlines()[-1])["kinds"] is None


def test_the_bundled_assessor_names_kinds_for_one_that_names_none(adaqual, weights, monkeypatch):
    """Scores are those of the assessor that was chosen, kinds those of the bundled one; both decide what is restored."""
    monkeypatch.setattr(naming, "SHIPPED_ASSESSOR", weights / "own.safetensors")
    picture = read_picture("a.png")
    for options, factors in (((), {}), (("--only", "noise"), {kind: 0.0 for kind in KINDS if kind != "noise"})):
        settings = PromptSettings(factors=tuple(factors.get(kind, 1.0) for kind in KINDS))
        quality = with_kinds(assess(load_clip_iqa(weights / "clip"), picture), picture, small.assessor())
        expected = restore(small.restorer(), picture, build_prompt(picture, quality, settings)).picture
        found, _ = restored(adaqual, *options, assessor="clip")
        assert (found - expected).abs().max() <= 0.51 / 255 and not torch.equal(found, picture)


def test_what_is_assumed_can_be_limited_to_a_mask(adaqual):
    """White in a mask of any size says where; what is black and clean comes back bit for bit."""
    mask = torch.zeros(1, 1, 70, 90)
    mask[..., 20:50, 30:71] = 1
    write_picture(mask, "mask.png")
    write_picture(mask[..., ::2, ::2], "half.png")
    before, inside = read_picture("a.png"), mask[0, 0] > 0
    found, _ = restored(adaqual, "--assume", "haze=0.9,low=0.5", "--assume-mask", "mask.png", assessor="blind.safetensors")
    assert torch.equal(found[..., ~inside], before[..., ~inside])
    assert (found - before)[..., inside].abs().amax(1).gt(0).float().mean() > 0.5
    smaller, _ = restored(adaqual, "--assume", "haze=0.9", "--assume-mask", "half.png", assessor="blind.safetensors")
    assert torch.equal(smaller[..., :15, :], before[..., :15, :]) and not torch.equal(smaller[..., inside], before[..., inside])


def test_a_mask_that_cannot_be_used_is_refused(adaqual, tmp_path):
    (tmp_path / "folder").mkdir()
    write_picture(small.picture(20, 20), tmp_path / "folder" / "one.png")
    fails(adaqual("restore", "a.png", "b.png", "--assume-mask", "a.png"), 2, "--assume-mask", "give --assume")
    fails(adaqual("restore", "folder", "out", "--assume", "haze=1", "--assume-mask", "a.png"), 2, "--assume-mask", "is a folder")
    fails(adaqual("restore", "a.png", "b.png", "--assume", "haze=1", "--assume-mask", "no.png"), 1, "no.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "folder"]
