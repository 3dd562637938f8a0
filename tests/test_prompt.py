import pytest
import torch
from small import flat_map, picture, prompt_for

from adaqual_core.image_statistics import LEVELS, STATISTICS, global_statistics, levels_and_detail
from adaqual_core.prompt import PromptSettings, build_prompt, restore_mask
from adaqual_core.quality.map import quality_from_severity


def test_shapes_on_the_cell_grid():
    prompt = prompt_for(picture(33, 50, batch=2))
    for field in (prompt.severity, prompt.length, prompt.restore_mask):
        assert field.shape == (2, 1, 3, 4) and field.dtype == torch.float32
    assert prompt.statistics.shape == (2, STATISTICS)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 3.0])
def test_complexity_and_length_grow_with_severity(gamma):
    pixels = picture(16, 16 * 9)
    mask = torch.linspace(0, 1, 9).repeat_interleave(16).expand(16, -1)
    prompt = prompt_for(pixels, mask, PromptSettings(gamma=gamma, min_length=2, max_length=10))
    complexity, length = (prompt.length.flatten() - 2) / 8, prompt.length.flatten()
    assert (length.diff() > 0).all()
    assert torch.allclose(complexity, torch.linspace(0, 1, 9) ** gamma, atol=1e-4)
    assert length[0] == pytest.approx(2, abs=1e-4) and length[-1] == pytest.approx(10, abs=1e-4)


def test_the_ramp_of_the_restore_mask():
    scores = torch.linspace(1, 5, 401)
    mask = restore_mask(scores, 4.5)
    assert (mask[scores >= 4.5] == 0).all()
    assert (mask[scores <= 4.0] == 1).all()
    assert (mask.diff() <= 0).all()
    assert mask.diff().abs().max() < 0.05  # smooth: no step between neighbouring scores


def test_preserve_at_its_ends():
    assert (restore_mask(torch.linspace(1, 5, 9), 1.0) == 0).all()
    assert (restore_mask(torch.tensor([1.0, 4.5, 4.99]), 5.0) > 0).all()


def test_statistics_see_damage_and_colour():
    pixels, severity = picture(128, 96), torch.full((1, 1, 8, 6), 0.5)
    base = global_statistics(pixels, severity)
    assert not torch.allclose(base, global_statistics(pixels, severity + 0.1))
    assert not torch.allclose(base, global_statistics(pixels * 0.5, severity))
    assert base[0, 0] == pytest.approx(0.5) and base[0, 1] == pytest.approx(0)


def test_levels_hardly_depend_on_the_pictures_size():
    pixels = picture(128, 96)
    larger = torch.nn.functional.interpolate(pixels, scale_factor=2, mode="nearest")
    levels = [levels_and_detail(one)[:, :LEVELS] for one in (pixels, larger, pixels * 0.5)]
    assert torch.allclose(levels[0], levels[1], atol=0.02) and not torch.allclose(levels[0], levels[2], atol=0.02)


def test_every_detail_statistic_grows_with_noise():
    pixels = picture(128, 96)
    noisy = (pixels + 0.1 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    assert bool((levels_and_detail(noisy)[0, LEVELS:] > levels_and_detail(pixels)[0, LEVELS:]).all())


def test_one_cell_picture_has_finite_statistics():
    assert torch.isfinite(prompt_for(picture(1, 1)).statistics).all()


def test_one_map_serves_a_batch():
    prompt = build_prompt(picture(32, 32, batch=3), quality_from_severity(torch.rand(1, 32, 32)))
    assert prompt.severity.shape == (3, 1, 2, 2)
    assert torch.equal(prompt.severity[0], prompt.severity[2])


def test_alpha_does_not_change_the_prompt():
    pixels = picture(32, 32)
    with_alpha = torch.cat((pixels, torch.rand(1, 1, 32, 32)), 1)
    assert torch.equal(prompt_for(pixels).statistics, prompt_for(with_alpha).statistics)


@pytest.mark.parametrize(
    "values",
    [
        {"gamma": 0.05},
        {"gamma": 6},
        {"gamma": float("nan")},
        {"min_length": -1},
        {"min_length": 9, "max_length": 8},
        {"max_length": 17},
        {"preserve": 0.9},
        {"preserve": 5.1},
    ],
)
def test_settings_out_of_range_name_themselves(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        PromptSettings(**values)


@pytest.mark.parametrize(
    "pixels, quality, message",
    [
        (torch.rand(3, 8, 8), flat_map(8, 8, 3.0), "picture: shape"),
        (torch.rand(1, 2, 8, 8), flat_map(8, 8, 3.0), "picture: shape"),
        (torch.full((1, 3, 8, 8), float("nan")), flat_map(8, 8, 3.0), "NaN"),
        (torch.rand(1, 3, 8, 9), flat_map(8, 8, 3.0), "8×8 picture, but this one is 8×9"),
        (torch.rand(3, 3, 8, 8), quality_from_severity(torch.ones(2, 8, 8)), "map of 2 pictures"),
    ],
)
def test_bad_input_is_named(pixels, quality, message):
    with pytest.raises(ValueError, match=message):
        build_prompt(pixels, quality)
