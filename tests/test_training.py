"""What a training run promises: it resumes exactly, its data is what it says, and its loss prefers the truth."""

import json
import random
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small import denoiser as small_denoiser

from adaqual_core.checkpoint import load_assessor, load_denoiser, load_finish
from adaqual_core.finish import Finish
from adaqual_core.prompt import STATISTICS, levels_and_detail
from adaqual_core.tone import KNOTS
from adaqual_core.tonegrid import CHANNELS, VIEW
from adaqual_training import finish
from adaqual_training.data import DegradedPictures, crop, held_out, load_corpus, psnr, random_plan, suits
from adaqual_training.loop import Run
from adaqual_training.restorer import (
    CROPS,
    charbonnier,
    conditions,
    crops,
    picture_weight,
    quality_loss,
    restoration_loss,
    tone_loss,
    withheld,
)

CPU = torch.device("cpu")


def photo(seed: int) -> np.ndarray:
    smooth = np.random.default_rng(seed).random((9, 12, 3), np.float32)
    return np.asarray(Image.fromarray((255 * smooth).astype(np.uint8)).resize((96, 72), Image.Resampling.BICUBIC))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    entries = []
    for number in range(3):
        Image.fromarray(photo(number)).save(tmp_path / f"{number}.png")
        entries.append({"file": f"{number}.png", "photo": number, "split": "held" if number == 2 else "train"})
    (tmp_path / "manifest.json").write_text(json.dumps({"pictures": entries}))
    return tmp_path


def some_steps(run: Run, count: int) -> None:
    for _ in range(count):
        run.step(sum(p.square().sum() for p in run.model.parameters()), 0.9)


def test_run_resumes_where_it_stopped(tmp_path: Path):
    torch.manual_seed(0)
    start = small_denoiser()
    whole = Run(tmp_path / "whole", small_denoiser(), 1e-3, 1.0, CPU)
    whole.model.load_state_dict(start.state_dict())
    some_steps(whole, 6)
    first = Run(tmp_path / "halves", small_denoiser(), 1e-3, 1.0, CPU)
    first.model.load_state_dict(start.state_dict())
    some_steps(first, 3)
    first.save("model.safetensors", loss=0.5)
    second = Run(tmp_path / "halves", small_denoiser(), 1e-3, 1.0, CPU)
    assert second.done.iteration == 3 and second.done.hours == first.done.hours
    some_steps(second, 3)
    for resumed, direct in zip(second.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(resumed, direct)
    for stored, kept in zip(
        load_denoiser(tmp_path / "halves" / "model.safetensors").parameters(), first.average.parameters(), strict=True
    ):
        assert torch.equal(stored, kept)
    line = json.loads((tmp_path / "halves" / "log.jsonl").read_text())
    assert line["iteration"] == 3 and line["loss"] == 0.5


def test_run_ends_on_a_stop_file_or_when_its_hours_are_over(tmp_path: Path):
    run = Run(tmp_path, small_denoiser(), 1e-3, 1.0, CPU)
    assert not run.finished()
    (tmp_path / "stop").touch()
    assert run.finished()
    assert not Run(tmp_path, small_denoiser(), 1e-3, 1.0, CPU).finished(), "an old stop file must not end a new run"
    assert Run(tmp_path, small_denoiser(), 1e-3, 0.0, CPU).finished()


def test_run_ends_after_its_updates_and_slows_down_by_them(tmp_path: Path):
    run = Run(tmp_path, small_denoiser(), 1e-3, 0.0, CPU, updates=6)
    some_steps(run, 3)
    assert run.spent() == 0.5
    run.save("model.safetensors")
    again = Run(tmp_path, small_denoiser(), 1e-3, 0.0, CPU, updates=6)
    some_steps(again, 5)
    assert again.done.iteration == 8 and not again.finished()
    some_steps(again, 1)
    assert again.finished()


def test_training_pictures(corpus: Path):
    stream = iter(DegradedPictures(load_corpus(corpus, "train"), 48, 0, 0.0))
    again = iter(DegradedPictures(load_corpus(corpus, "train"), 48, 0, 0.0))
    for _ in range(8):
        case, same = next(stream), next(again)
        assert case["clean"].shape == case["degraded"].shape == (3, 48, 48)
        assert case["target"].shape == (1, 3, 3)
        assert torch.equal(case["degraded"], same["degraded"])
        assert 0 <= case["degraded"].min() and case["degraded"].max() <= 1
    clean = next(iter(DegradedPictures(load_corpus(corpus, "train"), 48, 0, 1.0)))
    assert torch.equal(clean["clean"], clean["degraded"]) and bool((clean["target"] == 5).all())


def test_share_of_clean_pictures():
    rng = random.Random(0)
    plans = [random_plan(rng, 0.3) for _ in range(2000)]
    assert 0.26 < sum(not plan for plan in plans) / 2000 < 0.34
    assert {kind for plan in plans for kind in plan} == {
        "low", "haze", "rain", "snow", "raindrops", "noise", "blur", "jpeg",
    }  # fmt: skip


def test_held_out_cases_are_fixed_and_damaged(corpus: Path):
    cases, again = (held_out(load_corpus(corpus, "held"), 64, 2) for _ in range(2))
    for kind, case in cases.items():
        assert torch.equal(case["degraded"], again[kind]["degraded"])
        if kind == "clean":
            assert torch.equal(case["degraded"], case["clean"])
        else:
            assert float(psnr(case["degraded"], case["clean"]).min()) < 50, kind


def test_crop_never_enlarges_more_than_a_small_photo_needs():
    pixels = photo(0)
    assert crop(pixels, 48, random.Random(1)).shape == (3, 48, 48)
    assert crop(pixels, 160, random.Random(1)).shape == (3, 160, 160)


def test_missing_corpus_names_the_command(tmp_path: Path):
    with pytest.raises(ValueError, match="python -m adaqual_training.corpus"):
        load_corpus(tmp_path, "train")


def test_loss_is_least_at_the_truth_and_sees_noise_beside_even_errors():
    torch.manual_seed(0)
    weight = torch.ones(2, 1, 32, 32)
    nothing = torch.zeros(2, 3, 32, 32)
    noise = torch.randn(2, 3, 32, 32) * 0.05
    even = torch.full((2, 3, 32, 32), 0.05)
    assert restoration_loss(nothing, weight) == 0
    assert restoration_loss(noise, weight) > restoration_loss(even, weight)
    assert restoration_loss(even, weight) > 0
    assert float(charbonnier(torch.tensor(1.0))) == pytest.approx(0.97, abs=0.01)
    small, large = torch.full((1, 3, 8, 8), 0.01), torch.full((1, 3, 8, 8), 0.3)
    assert picture_weight(small) > picture_weight(large)


def test_crops_keep_pictures_and_scores_of_a_scene_together():
    scores = torch.rand(3, 1, 8, 8)
    scene = scores.repeat_interleave(16, 2).repeat_interleave(16, 3).expand(-1, 3, -1, -1)
    (first, second), cut = crops([scene, scene + 1], scores, 64, torch.Generator().manual_seed(0))
    assert first.shape == (CROPS * 3, 3, 64, 64) and cut.shape == (CROPS * 3, 1, 4, 4)
    assert torch.equal(first[:, :1, ::16, ::16], cut) and torch.equal(second, first + 1)
    for index, window in enumerate(cut):
        assert torch.isin(window, scores[index % 3]).all()


def test_composed_crops_hold_the_whole_photo():
    square = np.asarray(Image.fromarray(photo(0)).resize((96, 96)))
    found = [crop(square, 48, random.Random(n), composed=1.0).sum() for n in range(4)]
    assert max(found) - min(found) < 1e-2, "the same pixels, flipped or turned"
    others = [crop(square, 48, random.Random(n)).sum() for n in range(4)]
    assert max(others) - min(others) > 1


def test_tone_loss_prefers_the_truth_and_the_damaged_part():
    clean = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    dark, severity = 0.5 * clean, torch.ones(1, 1, 4, 4)
    truth = torch.linspace(0, 1, KNOTS).expand(1, 3, KNOTS)  # 0.5·x is brightened by as much again
    losses = [float(tone_loss(share * truth, dark, clean, severity)) for share in (1.0, 0.5, 0.0)]
    assert losses[0] < 1e-6 < losses[1] < losses[2]
    severity[..., 2:] = 0
    half = torch.cat((dark[..., :32], clean[..., 32:]), -1)
    right, wrong = (float(tone_loss(share * truth, half, clean, severity)) for share in (0.9, 0.1))
    assert right < wrong


def test_quality_loss_is_zero_for_the_truth_and_blind_to_better_than_clean():
    net = load_assessor()
    clean = torch.from_numpy(photo(0).copy()).permute(2, 0, 1)[None].float()[..., :64, :96] / 255
    noisy = (clean + 0.15 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    whole = levels_and_detail(clean)
    assert quality_loss(net, clean, clean, whole) < 1e-6 and quality_loss(net, clean, noisy.detach(), whole) < 0.01
    loss = quality_loss(net, noisy, clean, whole)
    loss.backward()
    assert 0.02 < loss <= 1 and noisy.grad.abs().max() > 0


def test_what_is_darkened_is_mostly_well_exposed_and_what_is_put_in_haze_mostly_not_pale():
    bright, dark, pale = (np.full((64, 64, 3), level, np.uint8) for level in (140, 40, 200))
    bright[:8] = 0
    assert suits(bright, "low") and suits(bright, "haze") and not suits(dark, "low") and not suits(pale, "haze")
    assert all(suits(photo, kind) for photo in (bright, dark, pale) for kind in ("rain", "snow", "noise"))
    plans = {"low": {160, 200}, "haze": {160, 40}, "rain": {160, 40, 200}, "low+haze": {160}}
    photos = [[np.full((64, 64, 3), level, np.uint8)] for level in (160, 40, 200)]
    data = DegradedPictures(photos, 48, 0, 0.0)
    data.suited["haze"] = {0, 1}
    for kinds, allowed in plans.items():
        rng, plan = random.Random(0), dict.fromkeys(kinds.split("+"), 0.5)
        found = [int(data._photo(plan, rng)[0][0, 0, 0]) for _ in range(400)]
        assert all(found.count(level) > 400 * 0.75 / len(allowed) for level in allowed), kinds
        assert (set(found) == {160, 40, 200}) and sum(level in allowed for level in found) > 0.7 * 400, kinds
    data.suited["low"] = set()
    assert len(data._photo({"low": 0.5}, random.Random(0))) == 1, "a corpus without a suitable photo is used as it is"


def test_ablations_withhold_what_they_say():
    scores = torch.tensor([[1.0, 3.0], [5.0, 5.0]]).view(1, 1, 2, 2).repeat(2, 1, 1, 1)
    told = conditions(scores, torch.ones(2, STATISTICS))
    average = told["severity"].mean((1, 2, 3))
    everything = withheld(told, average, None)
    assert all(torch.equal(everything[name], told[name]) for name in told)
    even = withheld(told, average, "regions")
    assert torch.allclose(even["severity"], torch.full_like(scores, 0.375))
    assert torch.allclose(even["length"], torch.full_like(scores, 1 + 15 * 0.375))
    assert torch.equal(even["statistics"], told["statistics"])
    assert not any(part.any() for part in withheld(told, average, "prompts").values())
    levels = withheld(told, average, "statistics")
    assert torch.equal(levels["severity"], told["severity"]) and not levels["statistics"].any()


def test_native_crops_are_the_photos_own_pixels():
    index = np.arange(96 * 72)
    numbered = np.stack((index % 256, index // 256, 0 * index), -1).reshape(72, 96, 3).astype(np.uint8)
    for seed in range(4):
        pixels = crop(numbered, 16, random.Random(seed), native=1.0) * 255
        found = (pixels[0] + 256 * pixels[1]).round().long()
        assert len(found.unique()) == 16 * 16
        steps = {abs(int(found[0, 1] - found[0, 0])), abs(int(found[1, 0] - found[0, 0]))}
        assert steps == {1, 96}, "neighbours in the photo"


def test_the_finish_is_taught_from_what_was_seen_and_joined(corpus: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(finish, "FILE", 8)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    run = tmp_path / "run"
    args = Namespace(what="see", corpus=corpus, run=run, count=8, init=None, hours=0.0, batch=2, rate=1e-3, every=100, held=1,
                     seed=3, device="cpu")  # fmt: skip
    with pytest.raises(ValueError, match="nothing seen; call"):
        finish.learn(Namespace(**{**vars(args), "what": "grid"}))
    finish.see(args)
    seen = load_file(run / "seen-3-0000.safetensors")
    assert seen["view"].shape == (8, CHANNELS, VIEW, VIEW)
    assert seen["lattice"].shape == (8, 7, finish.LATTICE, finish.LATTICE)
    assert seen["crop"].shape == (8, 10, finish.CROP, finish.CROP)
    for part in ("grid", "detail"):
        finish.learn(Namespace(**{**vars(args), "what": part}))
        assert {"low", "noise+jpeg", "mean_gain"} < set(json.loads((run / part / "log.jsonl").read_text()))
    finish.join(args)
    joined, untrained = load_finish(run / "finish.safetensors"), Finish()
    for part in ("grid", "detail"):
        trained = getattr(load_finish(run / part / "finish.safetensors"), part).state_dict()
        assert all(torch.equal(value, getattr(joined, part).state_dict()[name]) for name, value in trained.items())
    assert not torch.equal(joined.grid.head.bias, untrained.grid.head.bias)
    assert not torch.equal(joined.detail.ending.bias, untrained.detail.ending.bias)


def test_the_finish_is_asked_for_tone_and_for_detail():
    """Truth as prediction costs nothing more than its floor; tone is not asked of the detail."""
    clean = torch.rand(2, 3, finish.CROP, finish.CROP, generator=torch.Generator().manual_seed(0)) * 0.5
    grain = 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 1, finish.CROP, finish.CROP)

    def before(restored):
        crop = finish.bytes_of(torch.cat((restored, restored, clean, mask), 1).clamp(0, 1))
        return float(finish.detail_errors(Finish(), {"crop": crop}, CPU)[0].abs().mean())

    assert before(clean + 0.3) < 0.01 < 0.05 < before(clean + 0.2 + grain)


def test_recolouring_keeps_an_example_together():
    colours = torch.arange(3, dtype=torch.uint8).view(1, 3, 1, 1)
    batch = {"lattice": torch.cat((colours, colours + 10, colours[:, :1] + 99), 1)}
    torch.manual_seed(2)
    found = finish.recoloured(batch)["lattice"].flatten().tolist()
    assert sorted(found[:3]) == [0, 1, 2] and found[3:6] == [value + 10 for value in found[:3]] and found[6] == 99
    assert found != batch["lattice"].flatten().tolist()


def test_a_part_of_a_view_is_what_lies_there():
    centres = (torch.arange(VIEW) + 0.5) / VIEW
    view = torch.stack((centres[:, None].expand(VIEW, VIEW), centres.expand(VIEW, VIEW)))[None]
    for seed in range(5):
        torch.manual_seed(seed)
        found, corner, side = finish.part_of(view)
        assert 0.6 <= side <= 1 and 0 <= corner.min() and corner.max() <= 1 - side + 1e-6
        inside = slice(2, -2)  # beyond the outermost centres a view is constant
        for axis in (0, 1):
            expected = (corner[axis] + side * centres)[inside]
            assert torch.allclose(found[0, axis].movedim(axis, 0)[inside, VIEW // 2], expected, atol=1e-5)
