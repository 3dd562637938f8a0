import types

import pytest
import torch
import torch.nn as nn
from small import disturb, picture, prompt_for

from adaqual_core.errors import NumericalError
from adaqual_core.grid import pixel_mask
from adaqual_core.networks.family import Told
from adaqual_core.networks.runner import Runner
from adaqual_core.networks.weather_diffusion import WeatherConfig, WeatherNet, read_config
from adaqual_core.sampling.ddim import alphas_cumprod, ddim
from adaqual_core.sampling.patches import ENOUGH, Averaged, PatchPlan, active_corners, corners
from adaqual_core.sampling.restore import restore
from adaqual_core.sampling.settings import RestoreSettings

CONFIG = WeatherConfig(32, (32, 64), 1, (False, True), 64, 16)
STEPS = [600, 300, 0]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def network(config=CONFIG, seed=0):
    torch.manual_seed(seed)
    model = WeatherNet(config)
    disturb(model, 0.05, seed)
    return model.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def model():
    return network()


def pair(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return picture(height, width, seed=seed)[0], torch.randn(3, height, width, generator=generator)


def sampled(predict, pixels, noise, steps, *, grid, patch=16, batch=16, mask=None, advance=lambda x0: None):
    """The last state of patches run by ``predict``, a network or a function of its arguments."""
    network = predict if isinstance(predict, nn.Module) else Function(predict)
    shape = tuple(pixels.shape[1:])
    plan = PatchPlan(tuple(grid), patch, batch, shape, len(grid))
    mask = torch.ones(shape) if mask is None else mask
    return ddim(Averaged(plan, Runner(network), Told(pixels), mask, advance), noise.clone(), steps)


class Function(nn.Module):
    """A network that is a function of its arguments."""

    def __init__(self, function):
        super().__init__()
        self.function, self.weight = function, nn.Parameter(torch.zeros(1))

    def forward(self, patches, timestep):
        return self.function(patches, timestep)


@pytest.mark.parametrize(
    "config, millions",
    [
        (WeatherConfig(), 82.96),
        (WeatherConfig(128, (128, 128, 256, 384, 512), 2, (False, False, False, True, False), 512, 128), 85.61),
        (WeatherConfig(32, (64, 32, 32), 2, (True, False, True), 64, 16), None),
    ],
)
def test_published_sizes_are_read_from_shapes(config, millions):
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in WeatherNet(config).state_dict().items()}
    assert read_config(shapes) == config
    assert read_config(shapes, 32).patch == 32
    if millions:
        count = sum(torch.Size(shape).numel() for shape in shapes.values())
        assert round(count / 1e6, 2) == millions


def test_timesteps_per_patch_and_for_all(model):
    patches = torch.randn(2, 6, 16, 16)
    assert torch.allclose(model(patches, torch.tensor([9])), model(patches, torch.tensor([9, 9])), atol=1e-5)
    assert not torch.allclose(model(patches, torch.tensor([9])), model(patches, torch.tensor([900])), atol=1e-3)


def test_gradients_flow():
    net = network().requires_grad_(True)
    net(torch.randn(1, 6, 16, 16), torch.tensor([5])).square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_operations_are_used_for_every_layer():
    made = []

    def of(kind):
        class Made(kind):
            def __init__(self, *args, **kwargs):
                made.append(self)
                super().__init__(*args, **kwargs)

        return Made

    kinds = nn.Linear, nn.Conv2d, nn.GroupNorm
    net = WeatherNet(CONFIG, types.SimpleNamespace(**{kind.__name__: of(kind) for kind in kinds}))
    assert {id(m) for m in net.modules() if isinstance(m, kinds)} == {id(m) for m in made}


def test_widths_that_groups_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="multiples of 32"):
        WeatherNet(WeatherConfig(32, (32, 48), 1, (False, True), 64, 16))


@pytest.mark.parametrize("height, width, patch, stride", [(16, 16, 16, 8), (33, 57, 16, 8), (40, 17, 16, 16), (64, 50, 16, 5)])
def test_corners_cover_every_pixel(height, width, patch, stride):
    seen, grid = torch.zeros(height, width), corners(height, width, patch, stride)
    for y, x in grid:
        assert 0 <= y <= height - patch and 0 <= x <= width - patch
        seen[y : y + patch, x : x + patch] += 1
    assert bool((seen > 0).all()) and len(set(grid)) == len(grid)


def test_published_example_has_888_patches():
    assert len(corners(432, 640, 64, 16)) == 888


@pytest.mark.parametrize(
    "size, patch, stride, message", [(10, 16, 8, "does not fit"), (20, 16, 0, "stride: 0"), (20, 16, 17, "stride: 17")]
)
def test_corner_refusals(size, patch, stride, message):
    with pytest.raises(ValueError, match=message):
        corners(size, 64, patch, stride)


def test_noise_is_averaged_over_patches():
    """Patches that each find their own number as noise: x0 tells the mean of those that cover a pixel."""
    pixels, noise = pair(16, 24)
    numbers = iter(range(1, 100))

    def predict(patches, t):
        return torch.stack([torch.full((3, 16, 16), float(next(numbers))) for _ in patches])

    x0 = sampled(predict, pixels, noise, [500], grid=corners(16, 24, 16, 8))
    alpha = alphas_cumprod()[500]
    found = (noise - alpha.sqrt() * x0) / (1 - alpha).sqrt()
    expected = torch.tensor([1.0] * 8 + [1.5] * 8 + [2.0] * 8).expand(3, 16, 24)
    assert torch.allclose(found, expected, atol=1e-4)


def test_the_network_sees_the_picture_as_the_authors_do_and_the_state():
    pixels, noise = pair(16, 24)
    seen = []

    def predict(patches, t):
        seen.append((patches, t))
        return torch.zeros(len(patches), 3, 16, 16)

    sampled(predict, pixels, noise, [500], grid=[(0, 8)])
    ((patches, t),) = seen
    assert torch.equal(patches[0], torch.cat((2 * pixels - 1, noise))[:, :, 8:24]) and t.tolist() == [500]


def test_batches_do_not_change_the_result_and_bound_what_is_held(model):
    pixels, noise = pair(24, 40)
    grid, sizes, results = corners(24, 40, 16, 8), [], []

    def predict(patches, t):
        sizes.append(len(patches))
        return model(patches, t)

    for batch in (1, 3, 100):
        sizes.clear()
        results.append(sampled(predict, pixels, noise, STEPS, grid=grid, batch=batch))
        assert max(sizes) == min(batch, len(grid)) and sum(sizes) == len(grid) * len(STEPS)
    for other in results[1:]:
        assert torch.allclose(results[0], other, rtol=1e-4, atol=1e-4)


def test_a_mask_of_nearly_ones_changes_next_to_nothing(model):
    """A mask of ones takes the published way; others mix."""
    pixels, noise = pair(24, 32)
    grid = corners(24, 32, 16, 8)
    plain = sampled(model, pixels, noise, STEPS, grid=grid)
    masked = sampled(model, pixels, noise, STEPS, mask=torch.full((24, 32), 1 - 1e-7), grid=grid)
    assert torch.allclose(plain, masked, rtol=1e-4, atol=1e-4)


def test_preserved_patches_are_skipped(model):
    pixels, noise = pair(32, 64)
    mask = torch.zeros(32, 64)
    mask[:16, :16] = 1
    needed = active_corners(corners(32, 64, 16, 8), 16, mask)
    assert needed == [(0, 0), (0, 8), (8, 0), (8, 8)]
    result = sampled(model, pixels, noise, STEPS, grid=needed, mask=mask)
    assert torch.allclose(result[:, 16:], 2 * pixels[:, 16:] - 1, atol=1e-5)
    assert (result[:, :16, :16] - (2 * pixels - 1)[:, :16, :16]).abs().max() > 0.01


def test_faded_edges_need_no_patches_of_their_own_unless_none_covers_them():
    mask, grid = torch.zeros(16, 80), corners(16, 80, 16, 8)
    mask[:, :24], mask[:, 24:28] = 1, 0.3
    assert active_corners(grid, 16, mask) == [(0, 0), (0, 8), (0, 16)]  # (0, 24) holds nothing else
    mask[:, 60:64] = 0.2
    covered = torch.zeros(16, 80, dtype=torch.bool)
    for y, x in active_corners(grid, 16, mask):
        covered[y : y + 16, x : x + 16] = True
    assert bool(covered[mask > 0].all())


def test_a_damaged_quarter_needs_two_fifths_of_the_patches_at_most():
    """The published patches on a picture as small as 192²; at the damage's end as many are averaged as is promised."""
    severity = torch.zeros(192, 192)
    severity[:96, :96] = 1
    mask = pixel_mask(prompt_for(picture(192, 192), severity).restore_mask[0, 0], 192, 192)
    grid = corners(192, 192, 64, 16)
    needed = active_corners(grid, 64, mask)
    assert len(needed) <= 0.4 * len(grid)
    seen, there = torch.zeros(192, 192), torch.zeros(192, 192)
    for counts, every in ((seen, needed), (there, grid)):
        for y, x in every:
            counts[y : y + 64, x : x + 64] += 1
    assert bool((seen[mask > 0] > 0).all())
    core = mask >= 0.5
    assert bool((seen[core] >= there[core].clamp(max=ENOUGH)).all())
    assert active_corners(grid, 64, torch.ones(192, 192)) == grid


def restored(model, pixels, severity=1.0, progress=None, **settings):
    settings = {"steps": 2, "schedule": "official", "stride": 8, **settings}
    return restore(model, pixels, prompt_for(pixels, severity), RestoreSettings(**settings), progress=progress)


@pytest.mark.parametrize("height, width", [(40, 37), (5, 70), (1, 1)])
def test_pictures_of_any_size(model, height, width):
    pixels = picture(height, width)
    result = restored(model, pixels)
    assert result.picture.shape == pixels.shape and result.tiles_run == result.tiles_total > 0
    assert bool(torch.isfinite(result.picture).all())
    assert (result.picture - pixels).abs().max() > 0.01
    assert 0 <= result.picture.min() and result.picture.max() <= 1


def test_it_equals_the_published_sampler_where_everything_is_damaged(model):
    pixels = picture(24, 32)
    noise = torch.randn((3, 24, 32), generator=torch.Generator().manual_seed(7))
    state = sampled(model, pixels[0], noise, [500, 0], grid=corners(24, 32, 16, 8))
    found = restored(model, pixels, seed=7).picture[0]
    assert torch.allclose(found, ((state + 1) / 2).clamp(0, 1), atol=1e-5)


def test_kept_pixels_are_bit_identical_and_cost_follows_damage(model):
    pixels = picture(128, 128)
    severity = torch.zeros(128, 128)
    severity[:64, :64] = 1
    result = restored(model, pixels, severity)
    assert torch.equal(result.picture[..., 96:, :], pixels[..., 96:, :])
    assert (result.picture - pixels)[..., :64, :64].abs().max() > 0.01
    assert result.tiles_run <= 0.4 * result.tiles_total
    nothing = restored(model, pixels, 0.0)
    assert nothing.tiles_run == 0 and torch.equal(nothing.picture, pixels)


def test_strength(model):
    pixels = picture(24, 24)
    none, half, full = (restored(model, pixels, strength=s) for s in (0.0, 0.5, 1.0))
    assert torch.equal(none.picture, pixels) and none.tiles_run == 0
    open_range = (full.picture > 0) & (full.picture < 1)
    assert torch.allclose(half.picture[open_range], ((pixels + full.picture) / 2)[open_range], atol=1e-5)


def test_every_picture_of_a_batch_is_its_own_and_alpha_is_kept(model):
    pixels = picture(20, 24, batch=2, channels=4)
    together = restored(model, pixels).picture
    assert torch.equal(together[:, 3], pixels[:, 3])
    assert torch.equal(together[1:], restored(model, pixels[1:]).picture)


def test_progress_and_cancelling(model):
    pixels, calls = picture(24, 32, batch=2), []

    def progress(done, total, preview):
        calls.append((done, total))
        assert preview().shape == (3, 24, 32) and 0 <= preview().min() and preview().max() <= 1

    restored(model, pixels, progress=progress, patch_batch=4)
    assert calls == [(i, 8) for i in range(1, 9)]

    class Cancelled(Exception):
        pass

    def cancel(done, total, preview):
        raise Cancelled

    with pytest.raises(Cancelled):
        restored(model, pixels, progress=cancel)


def test_failing_networks_are_reported():
    net = network()
    net.conv_out.bias.fill_(float("nan"))
    with pytest.raises(NumericalError, match="load another"):
        restored(net, picture(16, 16))


def test_low_precision_falls_back_to_float32():
    net = network()
    net.conv_in.weight.copy_(net.conv_in.weight.sign() * 3e4)  # sums go beyond the largest half
    net.half()
    assert not bool(torch.isfinite(net(torch.randn(1, 6, 16, 16).half(), torch.tensor([0]))).all())
    pixels = picture(16, 16)
    prompt, settings = prompt_for(pixels), RestoreSettings(steps=1)
    found = restore(net, pixels, prompt, settings).picture
    assert net.conv_in.weight.dtype == torch.float16
    assert torch.equal(found, restore(net.float(), pixels, prompt, settings).picture)


def test_prompts_of_another_picture_are_refused(model):
    with pytest.raises(ValueError, match="prompt: made for"):
        restore(model, picture(64, 64), prompt_for(picture(32, 32)))


@pytest.mark.parametrize("name, value", [("stride", 0), ("patch_batch", 0)])
def test_settings_name_what_is_wrong(name, value):
    with pytest.raises(ValueError, match=f"{name}: {value}"):
        RestoreSettings(**{name: value})
