import copy
import math

import pytest
import torch
from small import picture, prompt_for, restorer

from adaqual_core.errors import NumericalError
from adaqual_core.networks.restorer import Restorer
from adaqual_core.prompt import PromptSettings
from adaqual_core.sampling.restore import restore
from adaqual_core.sampling.settings import RestoreSettings, draw_noise

MODEL = restorer()


def run(pixels, severity=1.0, **settings):
    return restore(MODEL, pixels, prompt_for(pixels, severity), RestoreSettings(**settings))


def uneven(height, width):
    """Severity that changes over the picture and is 0 in a corner."""
    ramp = torch.linspace(-0.6, 1.2, height)[:, None] + torch.linspace(-0.3, 0.3, width)
    return ramp.clamp(0, 1)


@pytest.fixture(scope="module")
def whole():
    pixels = picture(200, 330)
    return pixels, run(pixels, uneven(200, 330), tile=4096)


@pytest.mark.parametrize(
    "settings",
    [
        {"tile": 64},
        {"tile": 128, "tile_batch": 1},
        {"tile": 128, "tile_batch": 5},
        {"tile": 200, "overlap": 0},
        {"tile": 192, "overlap": 130},
    ],
)
def test_tiles_equal_the_whole_picture(whole, settings):
    pixels, expected = whole
    found = run(pixels, uneven(200, 330), **settings)
    assert (found.picture - expected.picture).abs().max() <= 1e-5
    assert (expected.picture - pixels).abs().max() > 0.05  # the network did change the picture


def test_no_two_seeds_and_steps_share_their_noise():
    drawn = [draw_noise((2, 2), 1.0, seed, index) for seed in (0, 1, 2, 3, 2**32, 2**40 + 1) for index in range(4)]
    for number, noise in enumerate(drawn):
        assert not any(torch.equal(noise, other) for other in drawn[:number])
    assert torch.equal(draw_noise((2, 2), 1.0, 7), torch.randn((3, 2, 2), generator=torch.Generator().manual_seed(7)))


@pytest.mark.parametrize("settings", [{"steps": 4, "eta": 0.7}, {"schedule": "official"}, {"steps": 1}])
def test_tiles_equal_the_whole_for_other_samplers(settings):
    pixels = picture(100, 210)
    first, second = (run(pixels, uneven(100, 210), tile=tile, **settings) for tile in (4096, 64))
    assert (first.picture - second.picture).abs().max() <= 1e-5


def test_the_seed_decides():
    pixels = picture(64, 80)
    first, again, other = (run(pixels, seed=seed).picture for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.isfinite(run(pixels, seed=2**64 - 1, eta=1.0).picture).all()


def test_settings_change_the_picture():
    pixels = picture(64, 80)
    base = run(pixels).picture
    for settings in ({"steps": 3}, {"schedule": "official"}, {"eta": 1.0}, {"strength": 0.5}):
        assert (run(pixels, **settings).picture - base).abs().max() > 1e-4, settings


def test_strength_mixes_with_the_input():
    pixels = picture(64, 80)
    assert torch.equal(run(pixels, strength=0).picture, pixels)
    half, full = run(pixels, strength=0.5).picture, run(pixels).picture
    inside = (full > 0) & (full < 1)
    assert torch.allclose(half[inside], ((pixels + full) / 2)[inside], atol=1e-6)


def test_work_follows_damage():
    pixels = picture(512, 512)
    mask = torch.zeros(512, 512)
    mask[:256, :256] = 1
    quarter, everything = run(pixels, mask), run(pixels)
    assert everything.tiles_run == everything.tiles_total == 64
    assert 16 <= quarter.tiles_run <= 0.4 * quarter.tiles_total
    kept = torch.ones(512, 512, dtype=torch.bool)
    kept[:280, :280] = False
    assert torch.equal(quarter.picture[..., kept], pixels[..., kept])
    assert (quarter.picture - pixels)[..., :240, :240].abs().max() > 0.05


@pytest.mark.parametrize("severity, preserve", [(0.0, 4.5), (0.12, 4.5), (1.0, 1.0)])
def test_what_is_preserved_is_not_run_and_not_touched(severity, preserve):
    pixels = picture(70, 90)
    calls = []
    prompt = prompt_for(pixels, severity, PromptSettings(preserve=preserve))
    found = restore(MODEL, pixels, prompt, progress=lambda *args: calls.append(args))
    assert found.tiles_run == 0 and found.tiles_total == 4 and not calls
    assert torch.equal(found.picture, pixels)


def test_the_mask_scales_the_change_smoothly():
    """A ramp of quality across the preserve threshold leaves no step: neighbours differ as the input's do."""
    pixels = torch.full((1, 3, 64, 256), 0.5)
    severity = torch.linspace(0, 0.4, 256).expand(64, 256)
    change = (run(pixels, severity).picture - pixels).abs().amax((0, 1, 2))
    assert change[:64].max() == 0 and change[200:].max() > 0.05


@pytest.mark.parametrize("height, width", [(1, 1), (1, 40), (7, 300), (17, 33), (16, 16), (129, 64)])
def test_any_size_comes_back(height, width):
    pixels = picture(height, width)
    found = run(pixels)
    assert found.picture.shape == pixels.shape
    assert torch.isfinite(found.picture).all() and found.picture.min() >= 0 and found.picture.max() <= 1
    assert not torch.equal(found.picture, pixels)


def test_batch_equals_single_pictures():
    pixels = picture(50, 70, batch=3)
    severity = torch.stack([torch.full((50, 70), value) for value in (1.0, 0.0, 0.5)])
    together = run(pixels, severity)
    singles = [run(pixels[i : i + 1], severity[i]) for i in range(3)]
    for i, single in enumerate(singles):
        assert torch.equal(together.picture[i : i + 1], single.picture)
    assert together.tiles_run == sum(single.tiles_run for single in singles)
    assert together.tiles_total == sum(single.tiles_total for single in singles)


def test_alpha_is_carried_through():
    pixels = picture(40, 60, channels=4)
    found = run(pixels).picture
    assert torch.equal(found[:, 3], pixels[:, 3])
    assert torch.equal(found[:, :3], run(pixels[:, :3]).picture)


def test_the_input_is_left_alone():
    pixels = picture(40, 60)
    copy = pixels.clone()
    run(pixels)
    assert torch.equal(pixels, copy)


def test_values_outside_the_range_change_as_their_clamped_ones():
    pixels = picture(40, 60) * 3 - 1
    clamped = pixels.clamp(0, 1)
    found, expected = run(pixels).picture, run(clamped).picture
    assert torch.equal(found[pixels == clamped], expected[pixels == clamped])
    assert torch.allclose(found - pixels, expected - clamped, atol=1e-6)
    assert torch.equal(run(pixels, severity=0.0).picture, pixels)


def test_progress_counts_every_batch_of_every_step():
    pixels, seen = picture(130, 200, batch=2), []
    severity = torch.stack((torch.ones(130, 200), torch.zeros(130, 200)))
    prompt = prompt_for(pixels, severity)
    settings = RestoreSettings(steps=3, tile=64, tile_batch=2)
    restore(MODEL, pixels, prompt, settings, progress=lambda done, all, preview: seen.append((done, all, preview())))
    total = seen[0][1]
    assert [done for done, _, _ in seen] == list(range(1, total + 1)) and {t for _, t, _ in seen} == {total}
    for _, _, preview in seen:
        assert preview.shape == (3, 130, 200) and preview.min() >= 0 and preview.max() <= 1


def test_the_preview_approaches_the_result_and_is_small():
    pixels, seen = picture(16, 1500), []
    found = restore(MODEL, pixels, prompt_for(pixels), progress=lambda done, total, preview: seen.append(preview()))
    assert max(seen[-1].shape) == 500
    assert torch.allclose(seen[-1], found.picture[0, :, ::3, ::3], atol=1e-6)


def test_progress_can_cancel():
    class Cancelled(Exception):
        pass

    calls = []

    def progress(done, total, preview):
        calls.append(done)
        if done == 2:
            raise Cancelled

    pixels = picture(128, 128)
    with pytest.raises(Cancelled):
        restore(MODEL, pixels, prompt_for(pixels), RestoreSettings(tile=64, tile_batch=1), progress=progress)
    assert calls == [1, 2]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights(dtype):
    pixels = picture(48, 64)
    exact = run(pixels).picture
    found = restore(restorer().to(dtype), pixels, prompt_for(pixels))
    assert found.picture.dtype == torch.float32
    assert (found.picture - exact).abs().mean() < 0.02


class Casting(torch.nn.Module):
    """Layers that follow their input's dtype, as ComfyUI's manual_cast does."""

    class Conv2d(torch.nn.Conv2d):
        def forward(self, x):
            return self._conv_forward(x, self.weight.to(x), self.bias.to(x))

    class Linear(torch.nn.Linear):
        def forward(self, x):
            return torch.nn.functional.linear(x, self.weight.to(x), self.bias.to(x))

    class LayerNorm(torch.nn.LayerNorm):
        def forward(self, x):
            weight, bias = (None if p is None else p.to(x) for p in (self.weight, self.bias))
            return torch.nn.functional.layer_norm(x, self.normalized_shape, weight, bias, self.eps)

    class GroupNorm(torch.nn.GroupNorm):
        def forward(self, x):
            return torch.nn.functional.group_norm(x, self.num_groups, self.weight.to(x), self.bias.to(x), self.eps)


def casting_model():
    model = Restorer(MODEL.config, operations=Casting).eval().requires_grad_(False)
    model.load_state_dict(MODEL.state_dict())
    return model


def test_the_dtype_to_compute_in_is_a_parameter():
    pixels = picture(48, 64)
    prompt = prompt_for(pixels)
    exact = run(pixels).picture
    assert torch.allclose(restore(casting_model(), pixels, prompt).picture, exact, atol=1e-6)
    half = restore(casting_model(), pixels, prompt, dtype=torch.bfloat16).picture
    assert 0 < (half - exact).abs().max() and (half - exact).abs().mean() < 0.02


def test_overflow_in_half_precision_is_computed_again_in_float32():
    model = restorer()
    with torch.no_grad():
        model.denoiser.encoder[0][0].conv1.weight.mul_(3e4)
        model.denoiser.encoder[0][0].conv2.weight.mul_(1e-5)
    pixels = picture(32, 32)
    prompt = prompt_for(pixels)
    half, finite = model.half(), []
    with model.denoiser.register_forward_hook(lambda module, given, found: finite.append(bool(torch.isfinite(found).all()))):
        found = restore(half, pixels, prompt).picture
    assert not finite[0] and finite[1]
    exact = restore(copy.deepcopy(half).float(), pixels, prompt).picture  # its prompts too are computed in float32
    assert torch.isfinite(found).all() and (found - exact).abs().mean() < 0.02 < (exact - pixels).abs().mean()
    assert next(half.parameters()).dtype == torch.float16  # the caller's model is as it was


def test_nan_from_the_network_names_tile_and_dtype():
    model = restorer()
    with torch.no_grad():
        model.denoiser.ending.bias[0] = math.nan
    pixels = picture(40, 40)
    with pytest.raises(NumericalError, match=r"tile \(0, 0\).*float32"):
        restore(model, pixels, prompt_for(pixels))


@pytest.mark.parametrize(
    "pixels, message",
    [
        (torch.rand(3, 16, 16), "picture: shape"),
        (torch.rand(1, 1, 16, 16), "picture: shape"),
        (torch.rand(0, 3, 16, 16), "picture: shape"),
        (torch.rand(1, 3, 0, 16), "picture: shape"),
        (torch.ones(1, 3, 16, 16, dtype=torch.uint8), "uint8"),
        (torch.full((1, 3, 16, 16), math.nan), "NaN"),
        (torch.full((1, 3, 16, 16), math.inf), "NaN or infinity"),
        (torch.rand(1, 3, 16, 17), "prompt: made for"),
        (torch.rand(2, 3, 16, 16), "prompt: made for"),
    ],
)
def test_bad_pictures_are_named_before_work(pixels, message):
    prompt = prompt_for(torch.rand(1, 3, 16, 16))
    with pytest.raises(ValueError, match=message):
        restore(MODEL, pixels, prompt, progress=lambda *args: pytest.fail("work began"))


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 0},
        {"steps": 1001},
        {"seed": -1},
        {"seed": 2**64},
        {"schedule": "karras"},
        {"eta": 1.1},
        {"eta": math.nan},
        {"strength": -0.1},
        {"strength": math.nan},
        {"tile": 63},
        {"overlap": -1},
        {"tile_batch": 0},
    ],
)
def test_settings_out_of_range_name_themselves(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        RestoreSettings(**values)
