"""What joins the frames of a clip: windows, cuts and fades, on pictures and with networks of random weights."""

from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from small import assessor, picture, restorer
from torch import Tensor

from adaqual_core.kinds import KINDS
from adaqual_core.prompt import PromptSettings, build_prompt
from adaqual_core.quality.assess import assess
from adaqual_core.quality.map import QualityMap, quality_from_severity
from adaqual_core.quality.set_damage import set_damage
from adaqual_core.sampling.settings import RestoreSettings
from adaqual_core.video.clip import Chain, Shot, look, read_shot, restore_frame, write_shot
from adaqual_core.video.memory import is_blank, is_cut, is_fading, steady_map, steady_maps, steady_prompts, thumbnail

HEIGHT, WIDTH = 64, 112


def scene(seed: int) -> Tensor:
    """A large picture [1, 3, 160, 280]: shapes of two sizes and some grain."""
    shapes = torch.rand(1, 3, 14, 24, generator=torch.Generator().manual_seed(seed))
    return 0.5 * picture(160, 280, seed=seed) + 0.5 * F.interpolate(shapes, (160, 280), mode="bicubic").clamp(0.05, 0.95)


def view(seed: int, x: int = 0, y: int = 0) -> Tensor:
    return scene(seed)[..., y : y + HEIGHT, x : x + WIDTH]


def known_map(pixels: Tensor, score: float, **kinds: float) -> QualityMap:
    """A map of one score; severities by kind where they are given."""
    named = torch.tensor([kinds.get(kind, 0.0) for kind in KINDS]).view(1, -1, 1, 1).expand(1, -1, 4, 7).contiguous()
    return QualityMap(torch.full((1, 1, 4, 7), score), *pixels.shape[-2:], "test", named if kinds else None)


def means(pictures: list[Tensor], scores: list[float], temporal: int) -> list[float]:
    maps = [known_map(one, float(score)) for one, score in zip(pictures, scores, strict=True)]
    return [round(float(one.mean), 4) for one in steady_maps(pictures, maps, temporal)]


def cut(before: Tensor, after: Tensor) -> bool:
    return is_cut(thumbnail(before), thumbnail(after))


@pytest.mark.parametrize("seed", range(8))
def test_cuts_are_found_and_nothing_else_is_taken_for_one(seed):
    here = view(seed)
    for other in range(20, 24):
        assert cut(here, view(other))
    for x, y in ((0, 0), (5, 2), (10, 0), (0, 6)):
        assert not cut(here, view(seed, x, y))
    noisy = (here + 0.2 * torch.randn(here.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    for gain in (0.3, 0.7, 1.3):
        assert not cut(here, (here * gain).clamp(0, 1)) and not cut(noisy * gain, here)
    box = here.clone()
    box[..., 10:26, 20:44] = 0.8
    assert not cut(here, box)
    black = torch.zeros_like(here)
    assert is_blank(thumbnail(black)) and not cut(black, 0.1 * here) and not cut(0.1 * here, black) and cut(black, here)


@pytest.mark.parametrize("seed", range(8))
def test_a_change_of_exposure_is_told_from_motion_and_grain(seed):
    here, grain = view(seed), torch.Generator().manual_seed(seed)

    def fading(before: Tensor, after: Tensor) -> bool:
        return is_fading(thumbnail(before), thumbnail(after))

    noise = [0.03 * torch.randn(here.shape, generator=grain) for _ in range(2)]
    for gain in (0.6, 0.9, 0.97, 1.05):
        assert fading(here, here * gain)
    for gain in (0.6, 0.9):
        assert fading((here + noise[0]).clamp(0, 1), (here * gain + noise[1]).clamp(0, 1))
    assert fading(here, 0.8 * here + 0.2)  # a fade to white
    box = here.clone()
    box[..., 10:40, 20:60] = 1
    assert not fading(here, here) and not fading(here, box) and not fading(here, view(seed, 4, 1))
    assert not fading((here + noise[0]).clamp(0, 1), (here + noise[1]).clamp(0, 1))


def test_a_window_is_a_mean_over_the_last_frames_of_the_shot():
    frames = [view(0), view(0, 2), view(0, 4), view(0, 6), view(9), view(9, 2)]
    assert means(frames, [1, 2, 4, 2, 5, 4], 2) == [1, 1.5, 3, 3, 5, 4.5]
    assert means(frames, [1, 2, 4, 2, 5, 4], 1) == [1, 2, 4, 2, 5, 4]


def test_the_first_frames_of_a_shot_change_no_faster_than_later_ones():
    frames = [view(0, 2 * index) for index in range(6)]
    assert means(frames, [1, 5, 5, 5, 5, 5], 4) == [1, 2, 3, 4, 5, 5]


def test_temporal_0_and_single_pictures_change_nothing():
    frames = [view(0), view(0, 3), view(1)]
    maps = [assess(assessor(), one) for one in frames]
    for given, found in zip(maps, steady_maps(frames, maps, 0), strict=True):
        assert found is given
    prompts = [build_prompt(one, quality) for one, quality in zip(frames, maps, strict=True)]
    for given, found in zip(prompts, steady_prompts(frames, prompts, 0), strict=True):
        assert found is given
    (alone,) = steady_maps(frames[:1], maps[:1], 5)
    assert torch.equal(alone.scores, maps[0].scores)
    (alone,) = steady_prompts(frames[:1], prompts[:1], 5)
    assert torch.equal(alone.restore_mask, prompts[0].restore_mask) and torch.equal(alone.statistics, prompts[0].statistics)


def test_a_fade_from_black_finds_no_damage_until_it_ends_and_then_evenly():
    gains = [0, 0.1, 0.3, 0.5, 0.7, 0.9, 1, 1, 1, 1, 1]
    frames = [gain * view(3) for gain in gains]
    found = means(frames, [1.0] * 6 + [3.0] * 5, 4)
    assert found == [5.0] * 7 + [4.5, 4.0, 3.5, 3.0]


def test_a_fade_to_black_keeps_what_was_found():
    frames = [gain * view(3) for gain in (1, 1, 0.8, 0.5, 0.2, 0, 0)]
    assert means(frames, [4.0, 4.0, 3.0, 2.0, 1.0, 1.0, 1.0], 3) == [4.0] * 7


def test_in_a_fade_only_darkness_and_haze_are_held():
    frames, memory = [gain * view(3) for gain in (1, 1, 0.7, 0.5)], None
    maps = [known_map(one, 5.0, low=0.0) for one in frames[:2]]
    maps += [known_map(one, 1 + 4 * 0.5 * 0.6, low=0.5, noise=0.4) for one in frames[2:]]
    for pixels, quality in zip(frames, maps, strict=True):
        steady, memory = steady_map(memory, pixels, quality, 2)
    assert float(steady.kinds[:, KINDS.index("low")].max()) == 0
    assert torch.allclose(steady.kinds[:, KINDS.index("noise")], torch.tensor(0.4))
    assert torch.allclose(steady.scores, torch.tensor(1 + 4 * 0.6), atol=1e-5)


def test_a_painted_mask_is_followed_frame_by_frame_and_the_view_is_averaged():
    frames, masks = [view(0), view(0, 2)], [torch.zeros(1, HEIGHT, WIDTH), torch.ones(1, HEIGHT, WIDTH)]
    prompts = [build_prompt(one, quality_from_severity(mask)) for one, mask in zip(frames, masks, strict=True)]
    found = list(steady_prompts(frames, prompts, 2))
    assert torch.equal(found[1].restore_mask, prompts[1].restore_mask)
    assert torch.allclose(found[1].statistics, (prompts[0].statistics + prompts[1].statistics) / 2)
    named = [build_prompt(one, known_map(one, 2.0, haze=0.5)) for one in frames]
    views = [one.view for one in steady_prompts(frames, named, 1)]
    averaged = list(steady_prompts(frames, named, 2))[1].view
    assert averaged.shape == (1, 19, 32, 32) and torch.allclose(averaged, (views[0] + views[1]) / 2)


def chain(temporal: int) -> Chain:
    return Chain(restorer(), partial(assess, assessor()), PromptSettings(), RestoreSettings(), temporal)


def clip(count: int) -> list[Tensor]:
    """Frames of a shaky shot with light that trembles, as cheap cameras make them."""
    grain = torch.Generator().manual_seed(0)
    noise = [0.05 * torch.randn(1, 3, HEIGHT, WIDTH, generator=grain) for _ in range(count)]
    return [(view(5, i % 2) + noise[i]).clamp(0, 1) for i in range(count)]


def restored(frames: list[Tensor], temporal: int) -> Tensor:
    steps, shot, found = chain(temporal), Shot(), []
    for frame in frames:
        result, _, shot = restore_frame(steps, shot, frame)
        found.append(result.picture)
    return torch.cat(found)


def test_a_ramp_of_exposure_that_is_known_to_be_undamaged_comes_back_bit_by_bit():
    frames = [gain * view(3) for gain in (0.55, 0.7, 0.85, 1.0)]
    steps, shot = (
        Chain(restorer(), lambda pixels: known_map(pixels, 5.0, low=0.0), PromptSettings(), RestoreSettings(), 3),
        Shot(),
    )
    for frame in frames:
        result, _, shot = restore_frame(steps, shot, frame)
        assert torch.equal(result.picture, frame)


def test_nothing_bleeds_over_a_cut():
    frames, others = clip(3), [view(9, i) for i in range(3)]
    assert torch.equal(restored(frames + others, 4)[3:], restored(others, 4))


def test_a_window_steadies_what_the_networks_are_told():
    frames = clip(8)

    def flicker(temporal: int) -> float:
        steps, shot, told = chain(temporal), Shot(), []
        for frame in frames:
            _, prompt, shot = look(steps, shot, frame)
            told.append(torch.cat((prompt.severity.flatten(), prompt.statistics.flatten())))
        return float((torch.stack(told[1:]) - torch.stack(told[:-1])).abs().mean())

    assert flicker(4) < 0.5 * flicker(0)


def test_what_is_remembered_can_be_kept_in_a_file(tmp_path):
    steps, shot = chain(3), Shot()
    for frame in clip(2):
        *_, shot = look(steps, shot, frame)
    write_shot(shot, tmp_path / "shot.safetensors")
    kept, frame = read_shot(tmp_path / "shot.safetensors"), clip(3)[2]
    (_, one, _), (_, other, _) = look(steps, shot, frame), look(steps, kept, frame)
    assert torch.equal(one.statistics, other.statistics) and torch.equal(one.severity, other.severity)


@pytest.mark.parametrize("temporal", [-1, 241])
def test_an_impossible_window_is_refused(temporal):
    with pytest.raises(ValueError, match=f"temporal: {temporal}; give 0"):
        chain(temporal)


def test_a_region_that_is_said_leaves_the_rest_averaged():
    """The restore mask beside a region that was set through a mask is averaged over the window as it is without it."""
    frames = [view(0, x) for x in (0, 1, 2)]
    mask = torch.zeros(1, HEIGHT, WIDTH)
    mask[:, :16, :16] = 1
    maps = [known_map(one, score, rain=0.2) for one, score in zip(frames, (4.4, 4.1, 4.4), strict=True)]
    plain = [build_prompt(one, quality) for one, quality in zip(frames, maps, strict=True)]
    said = [build_prompt(one, set_damage(quality, "noise", 0.8, mask)) for one, quality in zip(frames, maps, strict=True)]
    for expected, found in zip(steady_prompts(frames, plain, 3), steady_prompts(frames, said, 3), strict=True):
        assert torch.equal(found.pixel_mask(0)[:, 40:], expected.pixel_mask(0)[:, 40:])
        assert float(found.pixel_mask(0)[:16, :16].min()) == 1


@pytest.mark.parametrize("gain", [0.2, 0.05, 0.03])
@pytest.mark.parametrize("seed", range(4))
def test_dark_shots_are_told_apart_too(seed, gain):
    here = gain * view(seed)
    assert cut(here, gain * view(seed + 20)) and not is_blank(thumbnail(here))
    for x, y in ((0, 0), (5, 2), (10, 0)):
        assert not cut(here, gain * view(seed, x, y))
    assert not cut(here, 0.7 * here) and is_fading(thumbnail(view(seed)), thumbnail(here))


@pytest.mark.parametrize("colour", [0.0, 1.0])
def test_hidden_colours_of_a_clip_change_nothing(colour):
    steps = Chain(restorer(), partial(assess, assessor()), PromptSettings(), RestoreSettings(steps=1), 2)
    frames = [torch.cat((view(0, x), torch.ones(1, 1, HEIGHT, WIDTH)), 1) for x in (0, 2)]
    hidden = [one.clone() for one in frames]
    for one, other in zip(frames, hidden, strict=True):
        one[:, 3, :, 80:] = other[:, 3, :, 80:] = 0
        other[:, :3, :, 80:] = colour
    shots = [Shot(), Shot()]
    for pair in zip(frames, hidden, strict=True):
        found = [restore_frame(steps, shot, one) for shot, one in zip(shots, pair, strict=True)]
        shots = [shot for *_, shot in found]
        assert torch.equal(*(result.picture[..., :80] for result, *_ in found))
        assert torch.equal(*(shot.maps.thumbnail for shot in shots))


def test_the_quality_before_leaves_out_what_is_assumed():
    frame = view(0)
    plain = Chain(restorer(), lambda one: known_map(one, 4.8, rain=0.0), PromptSettings(), RestoreSettings(steps=1), 2)
    for mask in (None, torch.ones(1, HEIGHT, WIDTH)):
        _, judged, _ = restore_frame(replace(plain, assumed={"haze": 0.9}, assumed_mask=mask), Shot(), frame)
        assert float(judged.mean) == pytest.approx(4.8)
