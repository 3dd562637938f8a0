from dataclasses import replace

import pytest
import torch
from small import CONFIG, denoiser, disturb, prompt_for

from adaqual_core.image_statistics import STATISTICS
from adaqual_core.networks.denoiser import PRESETS, Denoiser, DenoiserConfig, initialise


def inputs(height, width, seed=0):
    """All arguments of the network, random."""
    generator = torch.Generator().manual_seed(seed)
    cells = (1, 1, height // 16, width // 16)
    return [
        torch.rand((1, 3, height, width), generator=generator),
        0.1 * torch.randn((1, 3, height, width), generator=generator),
        torch.tensor([499]),
        torch.tensor([0.08]),
        torch.rand(cells, generator=generator),
        1 + 15 * torch.rand(cells, generator=generator),
        torch.rand((1, STATISTICS), generator=generator),
    ]


def changed(model, args, index, where, amount=0.3):
    """Which pixels [H, W] change when argument ``index`` changes at ``where``."""
    other = [x.clone() for x in args]
    other[index][where] += amount
    return (model(*args) - model(*other)).abs().amax((0, 1))


@pytest.mark.parametrize("height, width", [(16, 16), (16, 80), (48, 32)])
def test_output_has_the_pictures_shape(height, width):
    assert denoiser()(*inputs(height, width)).shape == (1, 3, height, width)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, middle=(1,), encoder=(2, 1)),
        DenoiserConfig(
            unshuffle=2,
            widths=(8, 8, 8, 16),
            encoder=(1, 0, 0),
            middle=(3, 1),
            decoder=(1, 0, 0),
            condition_width=16,
            global_tokens=1,
            pools=2,
        ),
    ],
)
def test_receptive_radius_is_a_true_bound(config):
    model = Denoiser(config).eval()
    initialise(model, 0)
    disturb(model, 0.1, 0)
    radius = model.receptive_radius
    assert radius % 16 == 0
    side = 2 * radius + 32
    centre = radius + 8
    args = inputs(32, side)
    for index in (0, 1):  # picture and noise
        reached = changed(model, args, index, (..., slice(8, 9), slice(centre, centre + 1))).amax(0)
        assert (reached[: centre - radius] == 0).all() and (reached[centre + radius + 1 :] == 0).all()
        assert reached[centre] > 0
        spread = (reached > 0).nonzero().flatten()
        assert max(centre - int(spread[0]), int(spread[-1]) - centre) > radius - 48  # the bound is not idle either
    for index in (4, 5):  # severity and prompt length of one cell
        cell = centre // 16
        reached = changed(model, args, index, (..., slice(0, 1), slice(cell, cell + 1))).amax(0)
        assert (reached[: 16 * cell - radius] == 0).all() and (reached[16 * cell + 16 + radius :] == 0).all()
        assert reached[16 * cell] > 0


def test_everything_given_matters():
    model, args = denoiser(), inputs(32, 32)
    for index in (0, 1, 4, 5, 6):
        assert changed(model, args, index, (...,)).max() > 1e-5, f"argument {index} does not reach the output"
    later = [*args[:2], torch.tensor([100]), *args[3:]]
    assert (model(*args) - model(*later)).abs().max() > 1e-5


def test_gradients_reach_the_quality_map():
    model, args = denoiser(), inputs(32, 32)
    severity, length = args[4].requires_grad_(), args[5].requires_grad_()
    model(*args).square().sum().backward()
    assert (severity.grad.abs() > 0).all() and (length.grad.abs() > 0).all()


def test_the_untrained_network_changes_nothing():
    model = Denoiser(CONFIG)
    initialise(model, 3)
    args = inputs(32, 32)
    assert (model(*args) == 0).all()


def test_prompts_of_the_untrained_network_are_the_identity():
    model = Denoiser(CONFIG)
    initialise(model, 3)
    torch.nn.init.normal_(model.ending.weight)
    args = inputs(32, 32)
    assert changed(model, args, 4, (...,)).max() == 0
    assert changed(model, args, 0, (...,)).max() > 0


def test_initialisation_is_seeded():
    first, second, third = (Denoiser(CONFIG) for _ in range(3))
    for model, seed in ((first, 1), (second, 1), (third, 2)):
        initialise(model, seed)
    assert torch.equal(first.intro.weight, second.intro.weight)
    assert not torch.equal(first.intro.weight, third.intro.weight)


def test_precondition_is_the_best_linear_estimate():
    """Of all factors c the one that brings c·x_t nearest to a residual of standard deviation 0.2."""
    model = denoiser()
    generator = torch.Generator().manual_seed(0)
    residual = 0.2 * torch.randn((1, 3, 128, 128), generator=generator)
    for alpha in (0.001, 0.08, 0.7):
        noise = model.config.noise_scale * torch.randn(residual.shape, generator=generator)
        noisy = alpha**0.5 * residual + (1 - alpha) ** 0.5 * noise
        best = (noisy * residual).sum() / noisy.square().sum()
        estimate = model.precondition(noisy, torch.tensor([alpha]))
        assert torch.allclose(estimate, best * noisy, atol=0.01)


def test_flat_maps_of_all_1_and_all_5_differ():
    model, args = denoiser(), inputs(32, 32)
    found = []
    for severity in (1.0, 0.0):
        prompt = prompt_for(args[0], severity)
        found.append(model(*args[:4], prompt.severity, prompt.length, prompt.statistics))
    assert (found[0] - found[1]).abs().max() > 1e-3


def test_nano_has_at_most_4_million_parameters():
    with torch.device("meta"):
        assert sum(p.numel() for p in Denoiser(PRESETS["nano"]).parameters()) <= 4_000_000


def test_base_is_another_configuration_of_about_61_million():
    with torch.device("meta"):
        count = sum(p.numel() for p in Denoiser(PRESETS["base"]).parameters())
    assert 50_000_000 < count < 72_000_000


def test_a_part_computed_alone_equals_the_whole():
    """Nothing is averaged or normalised over the picture, and no place is told where it lies."""
    model = denoiser()
    margin = model.receptive_radius
    args = inputs(32, 4 * margin + 64)
    start, stop = margin, 3 * margin + 64  # of the part, on the grid of cells
    part = [*args]
    for index in (0, 1):
        part[index] = args[index][..., start:stop]
    for index in (4, 5):
        part[index] = args[index][..., start // 16 : stop // 16]
    inside = slice(margin, stop - start - margin)
    whole, alone = model(*args)[..., start:stop][..., inside], model(*part)[..., inside]
    assert (whole - alone).abs().max() <= 1e-5 and whole.std() > 1e-3


@pytest.mark.parametrize("change", [{"unshuffle": 2}, {"widths": (16, 24)}, {"decoder": (1,)}])
def test_impossible_configurations(change):
    with pytest.raises(ValueError, match="config"):
        Denoiser(replace(CONFIG, **change))
