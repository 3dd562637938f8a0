from dataclasses import replace

import pytest
import torch
from small import RESTORER, disturb, restorer

from adaqual_core.image_statistics import STATISTICS
from adaqual_core.kinds import KINDS
from adaqual_core.networks.restorer import Restorer, initialise

CELLS = ("severity", "kinds", "length")


def inputs(height: int, width: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """All that the conditioner and the denoiser are given, random."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator)

    rows, columns = height // 16, width // 16
    return {
        "picture": drawn(1, 3, height, width),
        "toned": drawn(1, 3, height, width),
        "noisy": 0.1 * torch.randn((1, 3, height, width), generator=generator),
        "timestep": torch.tensor([499]),
        "alpha_cumprod": torch.tensor([0.08]),
        "severity": drawn(1, 1, rows, columns),
        "kinds": drawn(1, len(KINDS), rows, columns),
        "length": 1 + 15 * drawn(1, 1, rows, columns),
        "statistics": drawn(1, STATISTICS),
        "mean_kinds": drawn(1, len(KINDS)),
    }


def run(model: Restorer, given: dict[str, torch.Tensor]) -> torch.Tensor:
    """What the denoiser makes of it."""
    about = {name: given[name] for name in ("statistics", "mean_kinds", *CELLS)}
    told, tokens, bias = model.conditioner(**about)
    damage = torch.cat((given["severity"], given["kinds"]), 1)
    seen = [given[name] for name in ("picture", "toned", "noisy", "timestep", "alpha_cumprod")]
    return model.denoiser(*seen, damage, told, tokens, bias)


def changed(model: Restorer, given: dict[str, torch.Tensor], name: str, where: tuple, amount: float = 0.3) -> torch.Tensor:
    """How much each pixel [H, W] changes when what is called ``name`` changes at ``where``."""
    other = given[name].clone()
    other[where] += amount
    return (run(model, given) - run(model, given | {name: other})).abs().amax((0, 1))


@pytest.mark.parametrize("height, width", [(16, 16), (16, 80), (48, 32)])
def test_output_has_the_pictures_shape(height, width):
    assert run(restorer(), inputs(height, width)).shape == (1, 3, height, width)


@pytest.mark.parametrize("changes", [{}, {"middle": 2, "encoder": (2, 1, 1)}, {"encoder": (1, 0, 0), "decoder": (1, 0, 2)}])
def test_receptive_radius_is_a_true_bound(changes):
    model = Restorer(replace(RESTORER, **changes)).eval().requires_grad_(False)
    initialise(model, 0)
    disturb(model, 0.1, 0)
    radius = model.receptive_radius
    assert radius % 16 == 0
    centre = radius + 8
    given = inputs(32, 2 * radius + 32)
    for name in ("picture", "toned", "noisy"):
        reached = changed(model, given, name, (..., slice(8, 9), slice(centre, centre + 1))).amax(0)
        assert (reached[: centre - radius] == 0).all() and (reached[centre + radius + 1 :] == 0).all()
        assert reached[centre] > 0
        spread = (reached > 0).nonzero().flatten()
        assert max(centre - int(spread[0]), int(spread[-1]) - centre) > radius - 48  # the bound is not idle either
    for name in CELLS:
        cell = centre // 16
        reached = changed(model, given, name, (..., slice(0, 1), slice(cell, cell + 1))).amax(0)
        assert (reached[: 16 * cell - radius] == 0).all() and (reached[16 * cell + 16 + radius :] == 0).all()
        assert reached[16 * cell] > 0


@pytest.mark.parametrize("name", ["picture", "toned", "noisy", "statistics", "mean_kinds", *CELLS])
def test_everything_given_matters(name):
    assert changed(restorer(), inputs(32, 32), name, (...,)).max() > 1e-5


def test_the_step_matters():
    model, given = restorer(), inputs(32, 32)
    assert (run(model, given) - run(model, given | {"timestep": torch.tensor([100])})).abs().max() > 1e-5


@pytest.mark.parametrize("index", range(len(KINDS)), ids=KINDS)
def test_every_kind_of_damage_is_told(index):
    """Severities of equal size and another kind give another picture."""
    model, given = restorer(), inputs(32, 32)
    kinds = [torch.zeros(1, len(KINDS), 2, 2) for _ in range(2)]
    kinds[0][:, index] = kinds[1][:, (index + 1) % len(KINDS)] = 0.5
    first, second = (run(model, given | {"kinds": one, "mean_kinds": one.mean((2, 3))}) for one in kinds)
    assert (first - second).abs().max() > 1e-4


def test_gradients_reach_the_quality_map():
    model, given = restorer(), inputs(32, 32)
    for name in CELLS:
        given[name].requires_grad_()
    run(model, given).square().sum().backward()
    assert all((given[name].grad.abs() > 0).all() for name in CELLS)


def test_the_untrained_network_changes_nothing():
    model = Restorer(RESTORER)
    initialise(model, 3)
    assert (run(model, inputs(32, 32)) == 0).all()


def test_initialisation_is_seeded():
    first, second, third = (Restorer(RESTORER) for _ in range(3))
    for model, seed in ((first, 1), (second, 1), (third, 2)):
        initialise(model, seed)
    assert torch.equal(first.denoiser.intro.weight, second.denoiser.intro.weight)
    assert not torch.equal(first.denoiser.intro.weight, third.denoiser.intro.weight)


def test_precondition_is_the_best_linear_estimate():
    """Of all factors c the one that brings c·x_t nearest to a residual of standard deviation 0.2."""
    model = restorer()
    generator = torch.Generator().manual_seed(0)
    residual = 0.2 * torch.randn((1, 3, 128, 128), generator=generator)
    for alpha in (0.001, 0.08, 0.7):
        noise = model.config.noise_scale * torch.randn(residual.shape, generator=generator)
        noisy = alpha**0.5 * residual + (1 - alpha) ** 0.5 * noise
        best = (noisy * residual).sum() / noisy.square().sum()
        estimate = model.denoiser.precondition(noisy, torch.tensor([alpha]))
        assert torch.allclose(estimate, best * noisy, atol=0.01)


def test_a_part_computed_alone_equals_the_whole():
    """Nothing is averaged or normalised over the picture, and no place is told where it lies."""
    model = restorer()
    margin = model.receptive_radius
    given = inputs(32, 4 * margin + 64)
    start, stop = margin, 3 * margin + 64  # of the part, on the grid of cells
    part = given | {name: given[name][..., start:stop] for name in ("picture", "toned", "noisy")}
    part |= {name: given[name][..., start // 16 : stop // 16] for name in CELLS}
    inside = slice(margin, stop - start - margin)
    whole, alone = run(model, given)[..., start:stop][..., inside], run(model, part)[..., inside]
    assert (whole - alone).abs().max() <= 1e-5 and whole.std() > 1e-3
