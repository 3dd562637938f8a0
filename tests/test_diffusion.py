import pytest
import torch

from adaqual_core.sampling.ddim import Estimate, alphas_cumprod, ddim, ddim_step, previous_alpha, timesteps


def test_the_two_step_schedules():
    assert timesteps("trailing", 2) == [999, 499]
    assert timesteps("official", 2) == [500, 0]


@pytest.mark.parametrize("schedule", ["trailing", "official"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50, 333, 1000])
def test_schedules_of_any_length_descend_within_range(schedule, steps):
    found = timesteps(schedule, steps)
    assert len(found) == steps
    assert all(a > b for a, b in zip(found, found[1:], strict=False))
    assert 0 <= found[-1] and found[0] <= 999
    assert found[0] == 999 if schedule == "trailing" else found[-1] == 0


@pytest.mark.parametrize("schedule, steps", [("trailing", 0), ("official", 1001), ("karras", 2)])
def test_schedules_that_do_not_exist(schedule, steps):
    with pytest.raises(ValueError, match="steps|schedule"):
        timesteps(schedule, steps)


def test_alphas_of_the_linear_schedule():
    alphas = alphas_cumprod()
    assert alphas.shape == (1000,)
    assert alphas[0] == pytest.approx(1 - 1e-4, abs=1e-6)
    assert alphas[-1] == pytest.approx(4.04e-5, rel=0.01)  # the known end of Ho et al.'s schedule
    assert (alphas[1:] < alphas[:-1]).all()


@pytest.mark.parametrize("schedule", ["trailing", "official"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_perfect_prediction_is_reached(schedule, eta):
    truth = torch.linspace(-1, 1, 3 * 8 * 8).view(3, 8, 8)
    steps = timesteps(schedule, 4)
    drawn = {"fresh_noise": lambda index: torch.randn(3, 8, 8)}
    found = ddim(lambda x, t: Estimate(truth), torch.randn(3, 8, 8), steps, eta=eta, **drawn)
    assert torch.allclose(found, truth, atol=1e-6)


def test_ddim_against_its_closed_form():
    """For x0 = c·x the sampler is linear: its end is the start times the product of the steps' factors."""
    steps, alphas, c = timesteps("trailing", 5), alphas_cumprod().double(), 0.3
    noise = torch.linspace(-0.5, 0.5, 16).view(1, 4, 4)
    factor = 1.0
    for i, t in enumerate(steps):
        a = alphas[t].item()
        b = alphas[steps[i + 1]].item() if i + 1 < len(steps) else 1.0
        factor *= b**0.5 * c + (1 - b) ** 0.5 * (1 - a**0.5 * c) / (1 - a) ** 0.5
    assert torch.allclose(ddim(lambda x, t: Estimate(c * x), noise.clone(), steps), noise * factor, atol=1e-5)


def test_a_step_keeps_the_noise_of_its_state():
    """From √a·r + √(1−a)·n with the true r, the next state is √b·r + √(1−b)·n: the same noise."""
    r, n = torch.randn(3, 4, 4), torch.randn(3, 4, 4)
    a, b = 0.3, 0.8
    state = a**0.5 * r + (1 - a) ** 0.5 * n
    assert torch.allclose(ddim_step(state, r, a, b), b**0.5 * r + (1 - b) ** 0.5 * n, atol=1e-6)


def test_eta_keeps_the_variance():
    generator = torch.Generator().manual_seed(0)
    n, fresh = (torch.randn(200_000, generator=generator) for _ in range(2))
    a, b = 0.3, 0.8
    state = (1 - a) ** 0.5 * n
    following = ddim_step(state, torch.zeros_like(n), a, b, eta=1.0, noise=fresh)
    assert following.var().item() == pytest.approx(1 - b, rel=0.02)
    assert abs(torch.corrcoef(torch.stack((following, fresh)))[0, 1]) > 0.3


def test_the_remaining_noise_is_read_from_the_unclipped_prediction_where_there_is_one():
    noise, steps, alphas = torch.randn(3, 4, 4), [999, 499], alphas_cumprod()
    states = {}
    for unclipped in (None, torch.full((3, 4, 4), 2.0)):

        def predict(x, t, unclipped=unclipped):
            states[unclipped is None, t] = x.clone()
            return Estimate(torch.ones(3, 4, 4), unclipped)

        ddim(predict, noise.clone(), steps)
    a, b = float(alphas[999]), float(alphas[499])
    for plain, prediction in ((True, 1.0), (False, 2.0)):
        expected = b**0.5 + (1 - b) ** 0.5 * (noise - a**0.5 * prediction) / (1 - a) ** 0.5
        assert torch.allclose(states[plain, 499], expected, atol=1e-6)
    assert not torch.allclose(states[True, 499], states[False, 499], atol=1e-4)


def test_the_model_is_any_callable_of_state_and_time():
    times = []
    ddim(lambda x, t: times.append(t) or Estimate(x), torch.zeros(1, 2, 2), [500, 0])
    assert times == [500, 0]


@pytest.mark.parametrize("height", [1, 255, 256, 257, 700])
def test_strips_of_rows_make_no_difference(height):
    """The picture's state is a step of all of its rows, however many there are."""
    noise = torch.randn(3, height, 2, generator=torch.Generator().manual_seed(height))
    states = []
    ddim(lambda x, t: states.append(x.clone()) or Estimate(0.5 * x), noise.clone(), [999, 499])
    alphas = alphas_cumprod()
    assert torch.equal(states[1], ddim_step(noise, 0.5 * noise, float(alphas[999]), float(alphas[499])))


@pytest.mark.parametrize("eta", [0.0, 0.4])
def test_fresh_noise_is_asked_for_after_every_step_but_the_last(eta):
    asked = []

    def fresh(index):
        asked.append(index)
        return torch.zeros(1, 2, 2)

    ddim(lambda x, t: Estimate(x), torch.zeros(1, 2, 2), [900, 600, 300], eta=eta, fresh_noise=fresh)
    assert asked == ([0, 1] if eta else [])


def test_previous_alpha_ends_without_noise():
    alphas = alphas_cumprod()
    assert previous_alpha(alphas, [999, 499], 0) == float(alphas[499])
    assert previous_alpha(alphas, [999, 499], 1) == 1.0
