from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from adaqual_core.errors import CheckpointError
from adaqual_core.networks.adaqual_diff import OfficialConfig, OfficialNet
from adaqual_core.networks.weather_diffusion import WeatherConfig, WeatherNet
from adaqual_core.published.golden import check_golden
from adaqual_core.sampling.ddim import alphas_cumprod
from adaqual_core.sampling.patches import corners

FOLDER = Path(__file__).parent / "golden"
OFFICIAL, WEATHER = FOLDER / "adaqual_official_a.safetensors", FOLDER / "weatherdiffusion_a.safetensors"


@pytest.mark.parametrize(
    "path, family",
    [
        (OFFICIAL, "adaqual_official"),
        (FOLDER / "adaqual_official_b.safetensors", "adaqual_official"),
        (WEATHER, "weatherdiffusion"),
    ],
    ids=lambda value: getattr(value, "stem", value),
)
def test_reference_outputs_are_reproduced(path, family):
    report = check_golden(path)
    with safe_open(path, "pt") as file:
        outputs = {key.removeprefix("out.") for key in file.keys() if key.startswith("out.")}
    assert report["family"] == family and set(report["outputs"]) == outputs
    assert report["passed"] and report["max_rel_err"] == max(report["outputs"].values()) < 1e-4
    loops = {"sample_residual", "x0_first", "x_last", "restored"}
    assert report["tolerances"] == {name: 1e-3 if name in loops else 1e-4 for name in outputs}


def rewritten(source, target, change):
    with safe_open(source, "pt") as file:
        header = dict(file.metadata())
    tensors = load_file(source)
    change(tensors, header)
    save_file(tensors, target, header)
    return target


@pytest.mark.parametrize("path, key", [(OFFICIAL, "weights.intro.bias"), (WEATHER, "weights.module.conv_in.bias")])
def test_another_weight_fails(tmp_path, path, key):
    def change(tensors, _):
        tensors[key] += 0.05

    report = check_golden(rewritten(path, tmp_path / "x.safetensors", change))
    assert not report["passed"] and report["max_rel_err"] > 1e-3


def test_another_number_of_heads_fails(tmp_path):
    report = check_golden(rewritten(OFFICIAL, tmp_path / "x.safetensors", lambda t, h: h.update(attn_num_heads="2")))
    assert not report["passed"] and report["outputs"]["attn_local"] > 1e-3
    assert report["outputs"]["predicted_residual"] < 1e-4


@pytest.mark.parametrize("path", [OFFICIAL, WEATHER], ids=["official", "weather"])
def test_nan_and_other_shapes_fail(tmp_path, path):
    def change(tensors, _):
        names = sorted(key for key in tensors if key.startswith("out."))
        tensors[names[0]] = tensors[names[0]] * float("nan")
        tensors[names[1]] = tensors[names[1]][..., :-1].contiguous()

    report = check_golden(rewritten(path, tmp_path / "x.safetensors", change))
    assert not report["passed"] and sorted(report["outputs"].values())[-2:] == [float("inf")] * 2


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def randomised(network, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network.requires_grad_(False).eval()


def weights(network, prefix):
    return {f"weights.{prefix}{key}": value for key, value in network.state_dict().items()}


def save(tensors, path, header):
    save_file({key: value.clone().contiguous() for key, value in tensors.items()}, path, header)


def ddim_by_hand(predict, noise, steps):
    """DDIM without fresh noise; ``predict(state, t)`` gives x0 and what the remaining noise is read from."""
    alphas, state = alphas_cumprod(), noise
    for index, t in enumerate(steps):
        a, b = float(alphas[t]), float(alphas[steps[index + 1]]) if index + 1 < len(steps) else 1.0
        x0, raw = predict(state, t)
        state = b**0.5 * x0 + (1 - b) ** 0.5 * (state - a**0.5 * raw) / (1 - a) ** 0.5
    return state


def residual_of(net, picture):
    def predict(state, t):
        raw = net(picture, state, torch.full((len(picture),), t))
        return raw.clamp(-1, 1), raw

    return predict


def image_of(net, picture, grid, patch):
    """The mean noise of patches run one by one, turned into an image in [−1, 1]."""

    def predict(state, t):
        total, count = torch.zeros_like(state), torch.zeros_like(state)
        for y, x in grid:
            part = (slice(None), slice(y, y + patch), slice(x, x + patch))
            total[part] += net(torch.cat((2 * picture[part] - 1, state[part]))[None], torch.tensor([t]))[0]
            count[part] += 1
        alpha = float(alphas_cumprod()[t])
        x0 = (state - (1 - alpha) ** 0.5 * total / count) / alpha**0.5
        return x0, x0

    return predict


def test_official_file_of_other_sizes(tmp_path):
    net = randomised(OfficialNet(OfficialConfig(12, (2, 0, 1), 3, (1, 2, 1), 6, 5, 7, 40, (), 3)), 1)
    # Residuals of about 15, as in the reference files: beyond the sampler's clip of 1, but not so far that clipping
    # turns the rounding of float32, which is relative to the largest residual, into errors above the tolerance.
    net.ending.weight.mul_(0.08)
    net.ending.bias.mul_(0.08)
    picture, noise, features = torch.rand(2, 3, 19, 30), torch.randn(2, 3, 19, 30), torch.randn(2, 96, 2, 3)
    steps = [666, 333, 0]
    tensors = {
        **weights(net, ""),
        "in.image": picture,
        "in.noisy_residual": noise,
        "in.timestep": torch.tensor([77]),
        "in.sample_noise": noise,
        "in.features": features,
        "meta.timesteps": torch.tensor(steps),
        "out.prompt.2.3": net.prompt_pool.published(2.3),
        "out.prompt.4.1": net.prompt_pool.published(4.1),
        "out.predicted_residual": net(picture, noise, torch.tensor([77, 77])),
        "out.attn_local": net.attn_local(features, net.prompt_pool.published(2.3)),
        "out.sample_residual": ddim_by_hand(residual_of(net, picture), noise, steps),
    }
    save(tensors, tmp_path / "x.safetensors", {"attn_num_heads": "3"})
    assert 5 < tensors["out.predicted_residual"].abs().max() < 30
    report = check_golden(tmp_path / "x.safetensors")
    assert report["passed"] and len(report["outputs"]) == 5, report


@pytest.mark.parametrize("stated", [True, False])
def test_weather_file_of_other_sizes(tmp_path, stated):
    net = randomised(WeatherNet(WeatherConfig(32, (64, 32, 32), 2, (True, False, True), 64, 16)), 2)
    picture, noise, steps = torch.rand(2, 3, 24, 32), torch.randn(2, 3, 24, 32), [0, 300, 600]
    grid = corners(24, 32, 16, 8)
    last = [ddim_by_hand(image_of(net, p, grid, 16), n, steps[::-1]) for p, n in zip(picture, noise, strict=True)]
    tensors = {
        **weights(net, "module."),
        "in.cond": picture,
        "in.noise": noise,
        "in.timestep": torch.tensor([5.0]),
        "meta.seq": torch.tensor(steps),
        "out.x_last": torch.stack(last),
        "out.eps_first_patch": net(torch.cat((2 * picture - 1, noise), 1)[..., :16, :16], torch.tensor([5.0])),
    }
    header = {"grid_r": "8"}
    if stated:
        tensors["meta.corners"], header["image_size"] = torch.tensor(grid), "16"
    save(tensors, tmp_path / "x.safetensors", header)
    assert check_golden(tmp_path / "x.safetensors")["passed"]


@pytest.mark.parametrize(
    "change, problem",
    [
        (lambda t, h: t.pop("in.image"), "in.image is missing"),
        (lambda t, h: t.update({"out.magic": torch.ones(1)}), "unknown output magic"),
        (lambda t, h: [t.pop(key) for key in list(t) if key.startswith("out.")], "no outputs"),
        (lambda t, h: [t.pop(key) for key in list(t) if key.startswith("weights.")], "no tensors"),
        (lambda t, h: t.pop("weights.decoders.0.0.beta"), "missing: decoders.0.0.beta"),
        (lambda t, h: h.update(attn_num_heads="many"), "attn_num_heads in the header is no whole number"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path, change, problem):
    path = rewritten(OFFICIAL, tmp_path / "x.safetensors", change)
    with pytest.raises(CheckpointError, match=problem) as found:
        check_golden(path)
    assert str(path) in str(found.value)


def test_no_golden_file(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        check_golden(tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").write_bytes(OFFICIAL.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="not a readable golden file"):
        check_golden(tmp_path / "x.safetensors")
