import types

import pytest
import torch
import torch.nn as nn
from small import disturb, picture, prompt_for

from adaqual_core.networks import adaqual_diff as official
from adaqual_core.networks.adaqual_diff import OfficialConfig, OfficialNet, read_config

CONFIG = OfficialConfig(8, (1, 2, 1, 1), 1, (1, 1, 2, 1), 8, projections=(128,))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def network(config=CONFIG, mode="published", seed=0):
    torch.manual_seed(seed)
    model = OfficialNet(config, mode)
    disturb(model, 0.1, seed)
    with torch.no_grad():  # residuals below 1
        model.ending.weight.mul_(0.05)
        model.ending.bias.mul_(0.05)
    return model.requires_grad_(False).eval()


def inputs(height, width, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(batch, 3, height, width, generator=generator)
    return picture(height, width, batch=batch, seed=seed), noise, torch.tensor([300] * batch)


def guidance(pixels, severity=0.7):
    prompt = prompt_for(pixels, severity)
    return None, prompt.severity, prompt.length, prompt.statistics


@pytest.mark.parametrize(
    "config, total",
    [(OfficialConfig(prompt_width=64), 59_942_083), (OfficialConfig(projections=(1024,)), 61_117_827)],
)
def test_parameter_counts_of_the_released_code(config, total):
    with torch.device("meta"):
        model = OfficialNet(config)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    assert sum(sizes.values()) == total
    assert sum(n for name, n in sizes.items() if not name.startswith(("prompt_pool.", "attn_"))) == 55_457_667


@pytest.mark.parametrize("config", [CONFIG, OfficialConfig(), OfficialConfig(4, (3, 0), 2, (1, 2), 6, 3, 4, 12, (16, 64), 2)])
def test_sizes_are_read_from_shapes(config):
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in OfficialNet(config).state_dict().items()}
    assert read_config(shapes, config.heads) == config


def test_strips_do_not_change_the_result(monkeypatch):
    model, given = network(), inputs(48, 40)
    whole = model(*given)  # requires_grad is off, but gradients are enabled: one strip
    monkeypatch.setattr(official, "STRIP", 1)
    with torch.no_grad():
        assert torch.allclose(model(*given), whole, atol=1e-5 * float(whole.abs().max()))


def test_gradients_flow():
    model = network().requires_grad_(True)
    model(*inputs(16, 16)).square().sum().backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if not name.startswith(("prompt", "attn")))


@pytest.mark.parametrize("height, width", [(1, 1), (17, 16), (30, 45)])
def test_any_size(height, width):
    assert network()(*inputs(height, width)).shape == (1, 3, height, width)


def test_a_batch_equals_its_pictures():
    model, (pixels, noise, _) = network(mode="prompted"), inputs(32, 32, batch=2)
    times, extra = torch.tensor([20, 700]), guidance(pixels)
    together = model(pixels, noise, times, *extra)
    for i in range(2):
        one = slice(i, i + 1)
        alone = model(pixels[one], noise[one], times[one], *(None if x is None else x[one] for x in extra))
        assert torch.allclose(together[one], alone, atol=1e-5)


def test_published_mode_ignores_the_prompt_and_needs_none():
    model, given = network(), inputs(32, 32)
    assert torch.equal(model(*given), model(*given, *guidance(given[0])))


def test_prompted_mode_follows_the_prompt():
    model, given = network(mode="prompted"), inputs(32, 32)
    mild, bad = (model(*given, *guidance(given[0], s)) for s in (0.1, 1.0))
    published = network()(*given)
    assert (mild - bad).abs().max() > 1e-4 < (mild - published).abs().max()
    with pytest.raises(ValueError, match="severity, length, statistics: missing"):
        network(mode="prompted")(*given)


def test_every_cell_has_its_own_prompt():
    model = network(mode="prompted")
    features = torch.randn(1, 128, 2, 4)
    severity = torch.tensor([[[[0.2, 0.2, 0.9, 0.9]] * 2]]).squeeze(2).view(1, 1, 2, 4)
    statistics = torch.full((1, 4), 0.5)
    mixed = model.prompted(features, severity, 16 * severity, statistics)
    for value, columns in ((0.2, slice(0, 2)), (0.9, slice(2, 4))):
        flat = torch.full_like(severity, value)
        alone = model.prompted(features, flat, 16 * flat, statistics)
        assert torch.allclose(mixed[..., columns], alone[..., columns], atol=1e-5)
        assert not torch.allclose(mixed, alone, atol=1e-3)


def test_prompted_mode_is_differentiable_in_the_quality():
    model, given = network(mode="prompted"), inputs(32, 32)
    severity = torch.full((1, 1, 2, 2), 0.5, requires_grad=True)
    model(*given, None, severity, 16 * severity, torch.full((1, 4), 0.5)).square().sum().backward()
    assert bool((severity.grad != 0).all())


def test_prompted_mode_without_projection_and_with_another_depth():
    config = OfficialConfig(8, (1, 1), 1, (1, 1), 8, heads=4)
    given = inputs(32, 48)
    assert network(config, "prompted")(*given, *guidance(given[0])).shape == given[0].shape


def of_faint_features(mode, dtype):
    """What a network makes of features whose spread over the channels is about 0.01, where an epsilon of 1e-3 counts.

    Nothing is added to the features: biases, and what the time adds, are 0.
    """
    model = network(mode=mode)
    with torch.no_grad():
        model.intro.weight.mul_(0.02)
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or ".mlp." in name:
                parameter.zero_()
    pixels, noise, time = inputs(32, 32)
    extra = (None if x is None else x.to(dtype) for x in guidance(pixels))
    return model.to(dtype)(pixels.to(dtype), noise.to(dtype), time, *extra).float()


@pytest.mark.parametrize("mode, least, most", [("published", 0.3, 3.0), ("prompted", 0.0, 0.1)])
def test_faint_features_count_less_in_half_types_in_published_mode_only(mode, least, most):
    """The released code's norms have an epsilon of 1e-5 in float32 and of 1e-3 in half types; our mode has 1e-5 in all."""
    exact, half = (of_faint_features(mode, dtype) for dtype in (torch.float32, torch.bfloat16))
    assert least <= float((exact - half).norm() / exact.norm()) <= most


@pytest.mark.parametrize("window", [1, 2, 5, 8, 9, 100])
def test_sliding_mean(window):
    x = torch.rand(1, 2, 9, 4)
    for place in range(9):
        part = x[:, :, max(0, place - window // 2) : place + (window + 1) // 2]
        assert torch.allclose(official._sliding_mean(x, window, 2)[:, :, place], part.mean(2), atol=1e-6)


def test_local_pool_window():
    model, given = network(), inputs(64, 48)
    whole = model(*given)
    assert torch.allclose(model(*given, pool_window=10_000), whole, atol=1e-5)
    assert not torch.allclose(model(*given, pool_window=16), whole, atol=1e-4)


def test_local_pools_join_pieces_without_a_seam():
    model = network(OfficialConfig(8, (1, 1), 1, (1, 1), 8))
    pixels, noise, time = inputs(16, 224)
    whole = model(pixels, noise, time, pool_window=16)
    piece = model(pixels[..., :160], noise[..., :160], time, pool_window=16)
    assert torch.allclose(piece[..., :64], whole[..., :64], atol=1e-5)


def test_receptive_radius():
    config = OfficialConfig(8, (1, 1), 1, (1, 1), 8)
    model = network(config)
    pixels, noise, time = inputs(16, 128)
    other = noise.clone()
    other[..., 64:68] += 1
    first, second = (model(pixels, x, time, pool_window=1) for x in (noise, other))  # leaves the convolutions
    changed = ((first - second).abs() > 1e-7).any(2).any(1)[0].nonzero()
    assert 64 - model.receptive_radius <= int(changed.min()) < 60
    assert 68 < int(changed.max()) <= 68 + model.receptive_radius


def test_operations_are_used_for_every_layer():
    made = []

    class Linear(nn.Linear):
        def __init__(self, *args, **kwargs):
            made.append(self)
            super().__init__(*args, **kwargs)

    class Conv2d(nn.Conv2d):
        def __init__(self, *args, **kwargs):
            made.append(self)
            super().__init__(*args, **kwargs)

    model = OfficialNet(CONFIG, operations=types.SimpleNamespace(Linear=Linear, Conv2d=Conv2d))
    assert {id(m) for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d))} == {id(m) for m in made}


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: OfficialNet(CONFIG, "clever"), "mode: 'clever'; choose published or prompted"),
        (lambda: OfficialNet(OfficialConfig(8, (1, 1), 1, (1,), 8)), "equally many levels"),
        (lambda: OfficialNet(OfficialConfig(10, (1,), 1, (1,), 8)), "heads: 8; give a divisor.*20"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()
