import numpy as np
import pytest
import torch
from small import denoiser, prompt_for
from small import picture as a_picture

from adaqual_core.image_statistics import STATISTICS
from adaqual_core.networks.tone_curve import KNOTS, ToneCurve, tone_change

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_linear_between_knots(device, dtype):
    generator = torch.Generator().manual_seed(0)
    curve = (torch.rand((2, 3, KNOTS), generator=generator) - 0.5).to(device, dtype)
    picture = (torch.rand((2, 3, 5, 7), generator=generator) * 1.2 - 0.1).to(device, dtype)
    found = tone_change(picture, curve)
    assert found.shape == picture.shape and found.dtype == dtype
    knots = np.linspace(0, 1, KNOTS)
    for b in range(2):
        for c in range(3):
            expected = np.interp(picture[b, c].double().cpu().numpy(), knots, curve[b, c].double().cpu().numpy())
            assert np.abs(found[b, c].double().cpu().numpy() - expected).max() < 20 * torch.finfo(dtype).eps


def test_ends_are_the_outer_knots():
    curve = torch.arange(3 * KNOTS, dtype=torch.float32).view(1, 3, KNOTS)
    ends = tone_change(torch.tensor([0.0, 1.0]).expand(1, 3, 1, 2), curve)
    assert torch.equal(ends[0, :, 0], curve[0, :, [0, -1]])


def test_curve_follows_the_statistics():
    torch.manual_seed(0)
    net = ToneCurve(16)
    statistics = torch.rand(2, STATISTICS)
    assert net(statistics).shape == (2, 3, KNOTS)
    assert (net(statistics)[0] - net(statistics)[1]).abs().max() > 1e-4


def test_the_denoiser_adds_its_curve():
    model, picture = denoiser(), a_picture(32, 32)
    prompt = prompt_for(picture)
    args = [
        picture,
        torch.zeros_like(picture),
        torch.tensor([999]),
        torch.tensor([0.01]),
        prompt.severity,
        prompt.length,
        prompt.statistics,
    ]
    for head in (model.ending, model.gain, model.share):
        head.weight.zero_()
        head.bias.zero_()
    model.share.bias.fill_(1)
    expected = tone_change(picture, model.tone(prompt.statistics))
    assert torch.allclose(model(*args), expected, atol=1e-6) and expected.abs().max() > 1e-3
