"""What restoring must not see and what it must give back: hidden colours, values beyond [0, 1], greyness."""

import pytest
import small
import torch
from small_clip import write_clip

from adaqual_core.prompt import build_prompt
from adaqual_core.quality.assess import assess, score
from adaqual_core.quality.clip_iqa import load_clip_iqa
from adaqual_core.quality.map import quality_from_severity
from adaqual_core.sampling.restore import restore
from adaqual_core.sampling.settings import settings_for
from adaqual_core.visible import filled, invisible, put_back, without_invisible

MODELS = {"adaqual": small.restorer(), "official": small.official(), "weather": small.weather()}


@pytest.fixture(scope="module")
def assessors(tmp_path_factory) -> dict:
    """One of each way to make a map."""
    clip = load_clip_iqa(write_clip(tmp_path_factory.mktemp("clip")))
    return {"embedded": small.assessor(), "clip": clip}


def cut_out(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """A picture with alpha: opaque in the middle, half transparent around it, invisible in a corner, a hole and a stripe."""
    pixels = small.picture(height, width, channels=4, seed=seed)
    pixels[:, 3] = 1
    pixels[:, 3, : height // 3] = 0.5
    pixels[:, 3, : height // 4, : width // 2] = 0
    pixels[:, 3, height // 2 : height // 2 + 3, width // 2 : width // 2 + 5] = 0
    pixels[:, 3, :, -2:] = 0
    return pixels


def with_other_hidden_colours(pixels: torch.Tensor, colour: float) -> torch.Tensor:
    """The same to every eye."""
    noise = colour + torch.rand(pixels[:, :3].shape, generator=torch.Generator().manual_seed(9))
    return torch.cat((torch.where(invisible(pixels), noise, pixels[:, :3]), pixels[:, 3:]), 1)


@pytest.mark.parametrize("kind", ["embedded", "clip"])
@pytest.mark.parametrize("colour", [0.0, -3.0, 40.0])
def test_hidden_colours_change_no_map_and_no_score(assessors, kind, colour):
    pixels = cut_out(70, 90)
    other = with_other_hidden_colours(pixels, colour)
    maps = [assess(assessors[kind], one) for one in (pixels, other)]
    assert torch.equal(maps[0].scores, maps[1].scores) and maps[0].scores.std() > 1e-3
    assert kind != "embedded" or torch.equal(maps[0].kinds, maps[1].kinds)
    assert torch.equal(score(assessors[kind], pixels), score(assessors[kind], other))
    quality = quality_from_severity(torch.ones(1, 70, 90))
    assert torch.equal(build_prompt(pixels, quality).statistics, build_prompt(other, quality).statistics)


@pytest.mark.parametrize("family", MODELS)
def test_hidden_colours_change_no_visible_pixel_and_come_back(family):
    pixels = cut_out(70, 90)
    other = with_other_hidden_colours(pixels, 0.0)
    results = [
        restore(MODELS[family], one, small.prompt_for(one), settings_for(MODELS[family], steps=1)).picture
        for one in (pixels, other)
    ]
    hidden = invisible(pixels).expand(-1, 4, -1, -1)
    assert torch.equal(results[0][~hidden], results[1][~hidden])
    for given, result in zip((pixels, other), results, strict=True):
        assert torch.equal(result[hidden], given[hidden]) and torch.equal(result[:, 3], given[:, 3])
        assert (result - given)[:, :3].abs().max() > 0.02  # something was restored


def test_holes_are_filled_from_around_them():
    pixels = torch.zeros(2, 4, 37, 50)
    pixels[:, 3] = 1
    pixels[0, :3, :, :25], pixels[0, :3, :, 25:] = 0.2, 0.8
    pixels[0, 3, 10:20, 5:15] = pixels[0, 3, 10:20, 35:45] = 0  # one hole in each half
    pixels[1, 3] = 0  # nothing to be seen
    found = filled(pixels)
    assert torch.allclose(found[0, :3, 10:20, 5:15], torch.tensor(0.2), atol=0.02)
    assert torch.allclose(found[0, :3, 10:20, 35:45], torch.tensor(0.8), atol=0.02)
    assert torch.equal(found[0, :3, :10], pixels[0, :3, :10]) and torch.equal(found[:, 3], pixels[:, 3])
    assert torch.allclose(found[1, :3], torch.tensor(0.5))
    opaque = small.picture(20, 30, channels=4)
    assert filled(opaque) is opaque and filled(opaque[:, :3]).shape[1] == 3


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (16, 16), (33, 5)])
def test_filling_stays_within_the_visible_colours(height, width):
    pixels = torch.rand(1, 4, height, width, generator=torch.Generator().manual_seed(1))
    pixels[:, 3] = (pixels[:, 3] > 0.7).float()
    pixels[:, 3, 0, 0] = 1
    found, seen = filled(pixels)[:, :3], pixels[:, :3][(pixels[:, 3:] > 0).expand(-1, 3, -1, -1)]
    assert found.min() >= seen.min() - 1e-6 and found.max() <= seen.max() + 1e-6


def test_a_mean_leaves_out_cells_that_nobody_sees():
    pixels = torch.ones(2, 4, 40, 64)
    pixels[0, 3, :, 32:] = 0
    field = torch.rand(2, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    found = without_invisible(field, pixels)
    assert torch.allclose(found[0].mean((1, 2)), field[0, :, :, :2].mean((1, 2))) and torch.equal(found[1], field[1])
    assert torch.equal(found[0, :, :, :2], field[0, :, :, :2])


@pytest.mark.parametrize("family", MODELS)
def test_grey_stays_grey_and_is_still_restored(family):
    colours = small.picture(60, 80, channels=4)
    grey = torch.cat((colours[:, :1].expand(-1, 3, -1, -1), colours[:, 3:]), 1)
    grey[:, 3, :20] = 0
    grey[:, 1, :20] = 0.9  # a colour that nobody sees
    for pixels in (grey[:, :3, 20:], grey):
        found = restore(MODELS[family], pixels, small.prompt_for(pixels), settings_for(MODELS[family], steps=1)).picture
        seen = found[:, :, -40:]
        assert torch.equal(seen[:, 0], seen[:, 1]) and torch.equal(seen[:, 1], seen[:, 2])
        assert (seen[:, 0] - pixels[:, 0, -40:]).abs().mean() > 0.005


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("channels", [3, 4])
def test_values_beyond_the_range_are_kept_where_the_picture_is(family, channels):
    pixels = small.picture(64, 96, channels=channels)
    pixels[:, :3] = pixels[:, :3] * 3 - 0.5
    severity = torch.zeros(64, 96)
    severity[:, :20] = 1
    prompt = small.prompt_for(pixels, severity)
    found = restore(MODELS[family], pixels, prompt, settings_for(MODELS[family], steps=1)).picture
    assert torch.equal(found[..., 64:], pixels[..., 64:]) and found.max() > 2
    changed = (found - pixels)[:, :3, :, :20].abs()
    assert changed.max() > 0.02 and changed.max() <= 1


def test_what_is_in_range_and_coloured_is_left_to_the_sampler():
    before, after = small.picture(20, 30, seed=1), small.picture(20, 30, seed=2)
    assert torch.equal(put_back(after.clone(), before), after)
