"""What every family of restoration networks promises, and the whole-picture sampler of the official layout."""

import math

import pytest
import torch
from small import official, picture, prompt_for, restorer, weather

from adaqual_core.errors import NumericalError
from adaqual_core.prompt import PromptSettings
from adaqual_core.sampling.ddim import alphas_cumprod
from adaqual_core.sampling.regions import CONTEXT, windows_of
from adaqual_core.sampling.restore import restore
from adaqual_core.sampling.settings import RestoreSettings, settings_for

MODELS = {
    "preset": restorer(),
    "published": official(),
    "prompted": official("prompted"),
    "weather": weather(),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]


def run(model, pixels, severity=1.0, progress=None, dtype=None, **settings):
    settings = settings_for(model, **{"steps": 2, **settings})
    return restore(model, pixels, prompt_for(pixels, severity), settings, progress=progress, dtype=dtype)


def quarter(side):
    mask = torch.zeros(side, side)
    mask[: side // 2, : side // 2] = 1
    return mask


def test_every_family_has_its_own_settings():
    own = {name: settings_for(model) for name, model in MODELS.items()}
    assert {name: (s.steps, s.schedule) for name, s in own.items()} == {
        "preset": (2, "trailing"),
        "published": (2, "official"),
        "prompted": (2, "official"),
        "weather": (25, "official"),
    }
    changed = settings_for(MODELS["weather"], steps=None, schedule="trailing", seed=3)
    assert changed == RestoreSettings(25, 3, "trailing")
    with pytest.raises(ValueError, match="steps: 0"):
        settings_for(MODELS["weather"], steps=0)


def test_without_settings_its_own_are_used(model):
    pixels, counted = picture(32, 32), []
    prompt = prompt_for(pixels)
    restore(model, pixels, prompt, progress=lambda done, total, preview: counted.append(total))
    assert len(counted) == counted[0] == settings_for(model).steps


@pytest.mark.parametrize("height, width", [(1, 1), (7, 150), (65, 48)])
def test_any_size_and_alpha(model, height, width):
    pixels = picture(height, width, channels=4)
    found = run(model, pixels).picture
    assert found.shape == pixels.shape and torch.equal(found[:, 3], pixels[:, 3])
    assert torch.isfinite(found).all() and 0 <= found.min() and found.max() <= 1
    assert (found - pixels)[:, :3].abs().max() > 0.01
    assert torch.equal(found[:, :3], run(model, pixels[:, :3]).picture)


@pytest.mark.parametrize("name, side", [("published", 384), ("prompted", 384), ("weather", 128)])
def test_work_follows_damage(name, side):
    """The pixels that the network sees; test_restore.py has the same for the presets."""
    model, pixels, sizes = MODELS[name], picture(side, side), []

    def count(module, args, named):
        seen = named["patches" if name == "weather" else "picture"]
        sizes.append(seen.shape[0] * seen[0, 0].numel())

    with model.register_forward_pre_hook(count, with_kwargs=True):
        full = run(model, pixels, steps=1)
        everything = sum(sizes)
        sizes.clear()
        part = run(model, pixels, quarter(side), steps=1)
    assert full.tiles_run == full.tiles_total > part.tiles_run > 0
    assert 0 < sum(sizes) <= 0.4 * everything
    kept = side // 2 + 16
    assert torch.equal(part.picture[..., kept:, :], pixels[..., kept:, :])
    assert (part.picture - pixels)[..., : side // 2, : side // 2].abs().max() > 0.01


def test_nothing_damaged_costs_nothing(model):
    pixels = picture(70, 90)
    for severity, settings in ((0.0, PromptSettings()), (1.0, PromptSettings(preserve=1.0))):
        calls = []
        prompt = prompt_for(pixels, severity, settings)
        found = restore(model, pixels, prompt, progress=lambda *args, calls=calls: calls.append(args))
        assert found.tiles_run == 0 and not calls and torch.equal(found.picture, pixels)


def test_batch_equals_single_pictures(model):
    pixels = picture(40, 70, batch=3)
    severity = torch.stack([torch.full((40, 70), value) for value in (1.0, 0.0, 0.5)])
    together = run(model, pixels, severity)
    singles = [run(model, pixels[i : i + 1], severity[i]) for i in range(3)]
    assert torch.equal(together.picture, torch.cat([single.picture for single in singles]))
    assert together.tiles_run == sum(single.tiles_run for single in singles) > 0


def test_settings_reach_the_sampler(model):
    pixels = picture(40, 70)
    base = run(model, pixels).picture
    assert torch.equal(run(model, pixels).picture, base)
    for settings in ({"steps": 3}, {"seed": 1}, {"eta": 1.0}, {"strength": 0.5}, {"schedule": "trailing"}):
        if settings_for(model, **settings) != settings_for(model):
            assert (run(model, pixels, **settings).picture - base).abs().max() > 1e-4, settings
    none, half = (run(model, pixels, strength=s) for s in (0, 0.5))
    assert torch.equal(none.picture, pixels) and none.tiles_run == 0
    inside = (base > 0) & (base < 1)
    assert torch.allclose(half.picture[inside], ((pixels + base) / 2)[inside], atol=1e-5)


def test_progress_previews_and_cancelling(model):
    pixels, seen = picture(64, 96, batch=2), []
    found = run(model, pixels, progress=lambda done, total, preview: seen.append((done, total, preview())))
    assert [done for done, _, _ in seen] == list(range(1, seen[0][1] + 1))
    assert all(p.shape == (3, 64, 96) and 0 <= p.min() and p.max() <= 1 for _, _, p in seen)
    if model is not MODELS["weather"]:  # whose previews are the last finished step's
        assert torch.allclose(seen[-1][2], found.picture[1], atol=1e-5)

    class Cancelled(Exception):
        pass

    def cancel(done, total, preview):
        raise Cancelled

    with pytest.raises(Cancelled):
        run(model, pixels, progress=cancel)


def test_another_pictures_prompt_is_refused(model):
    with pytest.raises(ValueError, match="prompt: made for"):
        restore(model, picture(64, 64), prompt_for(picture(32, 32)))
    with pytest.raises(ValueError, match="prompt: made for 1 pictures of 63×64, not for 1 of 64×64"):
        restore(model, picture(64, 64), prompt_for(picture(63, 64)))
    with pytest.raises(ValueError, match="picture: holds NaN"):
        restore(model, torch.full((1, 3, 32, 32), math.nan), prompt_for(picture(32, 32)))


def published_sampler(predict, noise, clipped=False):
    """The authors' two steps, written out: the noise direction is read from the residual before it is clamped."""
    alphas = alphas_cumprod()
    a, b = float(alphas[500]), float(alphas[0])
    raw = predict(noise, 500)
    residual = raw.clamp(-1, 1)
    direction = (noise - a**0.5 * (residual if clipped else raw)) / (1 - a) ** 0.5
    return predict(b**0.5 * residual + (1 - b) ** 0.5 * direction, 0).clamp(-1, 1)


@pytest.mark.parametrize("height, width", [(64, 48), (50, 37)])
@pytest.mark.parametrize("residuals", [1, 40])
def test_a_damaged_picture_comes_out_as_from_the_authors_sampler(height, width, residuals):
    """Any size (theirs is zero-padded inside), also where residuals are clamped."""
    net = official()
    net.ending.weight.mul_(residuals)
    pixels = picture(height, width)
    noise = torch.randn((1, 3, height, width), generator=torch.Generator().manual_seed(3))

    def predict(x, t):
        return net(pixels, x, torch.tensor([t]))

    residual, other = published_sampler(predict, noise), published_sampler(predict, noise, clipped=True)
    found = restore(net, pixels, prompt_for(pixels), settings_for(net, seed=3)).picture
    assert torch.allclose(found, (pixels + residual).clamp(0, 1), atol=1e-5)
    assert torch.allclose(residual, other, atol=1e-6) == (residuals == 1)  # the second kind does exceed ±1


def test_prompted_mode_follows_the_map():
    pixels, results = picture(64, 64), {}
    for severity in (0.4, 1.0):
        for name in ("published", "prompted"):
            results[name, severity] = run(MODELS[name], pixels, severity).picture
    assert torch.equal(results["published", 0.4], results["published", 1.0])
    assert (results["prompted", 0.4] - results["prompted", 1.0]).abs().max() > 1e-4


def covered(windows, height, width):
    seen = torch.zeros(height, width)
    for w in windows:
        seen[w.top : w.bottom, w.left : w.right] += 1
    return seen


def test_separate_damage_is_run_in_separate_windows():
    mask = torch.zeros(400, 300)
    mask[10:60, 20:60] = mask[300:310, 250:290] = mask[50:80, 50:90] = 1
    windows, pooled = windows_of(mask, 512, 16, 100)
    assert len(windows) == 2 and pooled is None
    seen = covered(windows, 400, 300)
    near = torch.nn.functional.max_pool2d(mask[None, None], 2 * CONTEXT + 1, 1, CONTEXT)[0, 0] > 0
    assert bool((seen[near] == 1).all()) and seen.max() == 1 and seen.mean() < 0.35
    assert all(w.top % 16 == 0 == w.left % 16 for w in windows)


@pytest.mark.parametrize("tile, step, radius", [(64, 16, 208), (64, 32, 40), (128, 16, 300)])
def test_large_regions_are_cut_into_pieces(tile, step, radius):
    windows, pooled = windows_of(torch.ones(700, 1100), tile, step, radius)
    assert len(windows) > 2 and 0 < pooled <= 2 * tile
    assert bool((covered(windows, 700, 1100) == 1).all())
    for w in windows:
        assert max(w.shape) <= 4 * tile and w.window_top % step == 0 == w.window_left % step
        assert w.window_left == 0 or w.left - w.window_left >= min(radius, tile)


def test_pieces_are_close_to_the_whole_and_leave_no_seam():
    net, pixels = official(), picture(288, 304)
    noise = torch.randn((1, 3, 288, 304), generator=torch.Generator().manual_seed(0))
    pooled = windows_of(torch.ones(288, 304), 64, 16, net.receptive_radius)[1]

    def whole(x, t):
        return net(pixels, x, torch.tensor([t]), pool_window=pooled)

    expected = (pixels + published_sampler(whole, noise)).clamp(0, 1)
    found = run(net, pixels, tile=64)
    change, error = (expected - pixels).abs(), (found.picture - expected).abs()
    assert error.mean() < 0.01 * change.mean() and error.max() < 0.05 * change.max()
    assert found.tiles_run == found.tiles_total == 25


@pytest.mark.parametrize("name", ["published", "prompted", "weather"])
def test_half_precision_and_its_failure(name):
    pixels = picture(48, 64)
    exact = run(MODELS[name], pixels).picture
    half = {"published": official, "prompted": lambda: official("prompted"), "weather": weather}[name]().bfloat16()
    assert (run(half, pixels).picture - exact).abs().mean() < 0.05
    half.load_state_dict({key: value * math.nan for key, value in half.state_dict().items()})
    with pytest.raises(NumericalError, match="float32 too.*load another"):
        run(half, pixels)
