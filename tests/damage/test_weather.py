"""Darkness, rain, snow, haze and raindrops: what every generator of adaqual_core.damage promises."""

from importlib import import_module

import pytest
import torch
from generators import picture_and_map

from adaqual_core.damage.draws import Draws
from adaqual_core.damage.fields import (
    box_filter,
    convolve,
    encoded,
    gaussian_blur,
    guided_filter,
    line_kernel,
    linear_light,
    local_mean,
    octave_noise,
    region_mask,
    wide_blur,
)
from adaqual_core.damage.haze import lay_over
from adaqual_core.damage.rain import lay_streaks
from adaqual_core.damage.shapes import draw_flakes, draw_strokes, owners
from adaqual_core.filters import luma

FILES = {"low": "low_light", "rain": "rain", "snow": "snow", "haze": "haze", "raindrops": "raindrops"}
MODULES = {kind: import_module(f"adaqual_core.damage.{file}") for kind, file in FILES.items()}
FUNCTIONS = {kind: getattr(MODULES[kind], file) for kind, file in FILES.items()}
EVERY = [(kind, name) for kind, module in MODULES.items() for name in module.GENERATORS]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def scene(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """A picture with a bright even upper part, dark textured ground, coloured surfaces and edges."""
    draws = Draws(seed, "scene")
    ground = 0.15 + 0.5 * torch.cat([octave_noise(height, width, draws, cells=3, octaves=6) for _ in range(3)])
    upper = torch.linspace(0, 1, height).view(1, -1, 1) < 0.35
    sky = torch.tensor([0.7, 0.78, 0.85]).view(3, 1, 1)
    picture = torch.where(upper, sky, ground)
    picture[:, height // 4 : height // 2, width // 3 : width // 2] *= 0.5
    return picture


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_generator_gives_a_picture_and_a_map_whatever_the_size(kind, name):
    generator = MODULES[kind].GENERATORS[name]
    for seed, (height, width) in enumerate(((37, 91), (16, 16), (130, 64))):
        for severity in (0.1, 0.6, 1.0):
            _, done = picture_and_map(generator, scene(height, width, seed), severity, Draws(seed, kind))
            assert done.max() > 0.02


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_severity_zero_means_untouched(kind, name):
    for seed in range(4):
        picture = scene(96, 160, seed)
        damaged, done = MODULES[kind].GENERATORS[name](picture, (0.15, 0.4, 0.7, 1.0)[seed], Draws(seed, kind))
        touched = (damaged != picture).any(0, keepdim=True)
        assert not (touched & (done == 0)).any()
        assert touched.any()


@pytest.mark.parametrize("kind", ("haze", "raindrops", "snow", "rain"))
def test_untouched_surroundings_have_severity_zero(kind):
    """Where a whole window of the map is untouched, the map is 0; haze may leave a pixel that is like the airlight as it is."""
    seen = 0
    for seed in range(12):
        picture = scene(128, 256, seed)
        damaged, done = FUNCTIONS[kind](picture, 0.15, Draws(seed, kind))
        touched = (damaged != picture).any(0, keepdim=True).float()
        far = box_filter(touched, 0 if kind == "haze" else 48) == 0
        seen += far.sum()
        assert (done[far] <= (0.02 if kind == "haze" else 0)).all()
    assert seen > 0 or kind == "rain"


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_same_seed_same_damage(kind, name):
    generator, picture = MODULES[kind].GENERATORS[name], scene(64, 96)
    first, again, other = (generator(picture, 0.6, Draws(seed, kind)) for seed in (5, 5, 6))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_kinds_draw_from_streams_of_their_own():
    """The haze of a seed is the same whether or not other kinds were drawn before it."""
    picture = scene(64, 96)
    alone, _ = FUNCTIONS["haze"](picture, 0.6, Draws(3, "haze"))
    FUNCTIONS["rain"](picture, 0.6, Draws(3, "rain"))
    FUNCTIONS["low"](picture, 0.6, Draws(3, "low"))
    torch.rand(7)
    beside, _ = FUNCTIONS["haze"](picture, 0.6, Draws(3, "haze"))
    assert torch.equal(alone, beside)


@pytest.mark.parametrize("kind", MODULES)
def test_every_generator_is_reached(kind):
    """Every generator by itself gives what the kind's function gives for some seed."""
    picture = scene(32, 48)
    left = set(MODULES[kind].GENERATORS)
    for seed in range(120):
        damaged, _ = FUNCTIONS[kind](picture, 0.6, Draws(seed, kind))
        for name in list(left):
            draws = Draws(seed, kind)
            draws.choose(*MODULES[kind].GENERATORS)
            if torch.equal(damaged, MODULES[kind].GENERATORS[name](picture, 0.6, draws)[0]):
                left.discard(name)
                break
        if not left:
            return
    raise AssertionError(f"{kind}: never chosen: {', '.join(sorted(left))}")


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_asked_and_delivered_severity(kind, name):
    """The map's peak is near the severity asked for (median of the draws within 0.3) and grows with it."""
    medians = []
    for severity in (0.15, 0.5, 1.0):
        peaks = []
        for seed in range(7):
            picture = scene(160, 192, seed)
            peaks.append(MODULES[kind].GENERATORS[name](picture, severity, Draws(seed, kind))[1].max())
        medians.append(torch.stack(peaks).median())
        assert abs(medians[-1] - severity) <= 0.3, (severity, medians[-1])
    assert medians[0] < medians[1] < medians[2]


def test_rain_never_darkens():
    """Streaks brighten whatever lies behind them; a veil is at least 0.46 bright, so that darker pictures only gain."""
    for seed in range(30):
        draws = Draws(seed, "rain")
        picture, streaks = scene(48, 64, seed), draws.rand(1, 48, 64) * (draws.rand(1, 48, 64) < 0.3)
        rainy = lay_streaks(picture, streaks, draws)
        assert (rainy >= picture).all()
        assert torch.equal(rainy[:, streaks[0] == 0], picture[:, streaks[0] == 0])
        dark = 0.45 * scene(64, 64, seed)
        assert (FUNCTIONS["rain"](dark, 0.7, Draws(seed, "rain"))[0] >= dark - 1e-6).all()


def test_low_light_never_brightens_and_has_no_noise():
    """An even picture stays smooth: noise of one level would bend it by 1.6 levels at half of the pixels."""
    for name, generator in MODULES["low"].GENERATORS.items():
        for seed in range(6):
            picture = scene(64, 64, seed)
            dark, _ = generator(picture, 0.8, Draws(seed, "low"))
            assert (dark <= picture).all(), name
            even, _ = generator(torch.full((3, 128, 128), 0.6), 0.8, Draws(seed, "low"))
            bend = even[:, 2:, 2:-2] - 2 * even[:, 1:-1, 2:-2] + even[:, :-2, 2:-2]
            assert bend.abs().median() < 0.5 / 255, name


def test_bright_sky_keeps_its_light():
    for seed in range(6):
        picture = scene(96, 96, seed)
        picture[:, 34:] *= 0.6
        dark, done = MODULES["low"].GENERATORS["bright sky"](picture, 0.8, Draws(seed, "low"))
        assert done[:, :20].mean() < 0.35 < 0.5 < done[:, 48:].mean()
        assert luma(dark)[:, :20].mean() > 0.6 * luma(picture)[:, :20].mean()


def test_haze_is_the_scattering_model():
    """Even picture, any haze of encoded values: the share of airlight is the map, and distance haze leaves a clear foreground."""
    picture, light = torch.full((3, 32, 32), 0.2), torch.full((3, 1, 1), 0.9)
    transmission = torch.linspace(0, 1, 32).expand(1, 32, 32)
    hazy = lay_over(picture, transmission, light)
    assert torch.allclose(hazy, 0.2 * transmission + 0.9 * (1 - transmission), atol=1e-6)
    assert torch.equal(hazy[:, :, -1], picture[:, :, -1])
    clear = [MODULES["haze"].GENERATORS["distance alone"](scene(96, 96, s), 0.8, Draws(s, "haze"))[1] for s in range(8)]
    assert sum(bool((done[:, -8:] < 0.05).float().mean() > 0.5) for done in clear) >= 5
    assert all(done.max() > 0.6 for done in clear)


def test_raindrops_leave_the_rest_untouched():
    for name in ("in focus", "out of focus", "water film", "running"):
        picture = scene(128, 128, 1)
        damaged, _ = MODULES["raindrops"].GENERATORS[name](picture, 0.4, Draws(2, "raindrops"))
        untouched = (damaged == picture).all(0).float().mean()
        assert 0.5 < untouched < 0.999, name


def test_shapes_are_where_they_were_put():
    one = torch.ones(1)
    centre = torch.tensor([[20.0], [30.0]])
    flake = draw_flakes(48, 64, centre, 5 * one, one, 0 * one, one, 0.8 * one, None)
    assert flake.max() == pytest.approx(0.8) and flake.sum() == pytest.approx(0.8 * 3.14159 * 25, rel=0.03)
    assert flake[0, 20, 30] == pytest.approx(0.8) and flake[0, 20, 37] == 0
    stroke = draw_strokes(48, 64, centre, 20 * one, 0 * one, 3 * one, 0.5 * one, 8.0)
    assert stroke[0, 20, 30] == pytest.approx(0.5) and stroke[0, 32, 30] == 0 and stroke[0, 20, 34] == 0
    two = torch.tensor([[20.0, 20.0], [30.0, 33.0]])
    owner = owners(48, 64, two, 5 * torch.ones(2), torch.ones(2), torch.zeros(2), None, 0.0)
    assert owner[20, 26] == 0 and owner[20, 32] == 1 and owner[0, 0] == -1


def test_filters():
    draws = Draws(0, "filters")
    field = draws.rand(1, 45, 70)
    assert torch.allclose(box_filter(field, 4)[0, 20, 30], field[0, 16:25, 26:35].mean(), atol=1e-5)
    inner = slice(12, -12)
    assert torch.allclose(wide_blur(field, 6.0)[:, inner, inner], gaussian_blur(field, 6.0)[:, inner, inner], atol=0.02)
    impulse = torch.zeros(1, 45, 70)
    impulse[0, 20, 30] = 1
    kernel = line_kernel(9, 0.3, 1.5)
    reach = kernel.shape[0] // 2
    assert torch.allclose(convolve(impulse, kernel)[0, 20 - reach : 21 + reach, 30 - reach : 31 + reach], kernel, atol=1e-5)
    mean = local_mean(impulse, 32)
    assert mean[0, 20, 30] > 0 and mean[0, 44, 69] == 0
    assert torch.allclose(local_mean(torch.ones(1, 45, 70), 32), torch.ones(1, 45, 70))
    step = (torch.arange(64) > 31).float().expand(1, 64, 64)
    noisy = step + 0.1 * draws.normal(1, 64, 64)
    assert (guided_filter(step, noisy, 8) - step).std() < 0.03
    assert torch.allclose(encoded(linear_light(field)), field, atol=1e-3)
    noise = octave_noise(45, 70, draws, cells=2, octaves=5)
    assert noise.shape == (1, 45, 70) and noise.min() == 0 and noise.max() == pytest.approx(1)


def test_region_mask_has_in_and_outside():
    masks = [region_mask(48, 72, Draws(seed, "region")) for seed in range(20)]
    assert all(mask.shape == (1, 48, 72) and 0 <= mask.min() and mask.max() <= 1 for mask in masks)
    assert sum(bool(mask.min() == 0 and mask.max() == 1) for mask in masks) >= 12
