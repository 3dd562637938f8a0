"""The short way of 3×3 convolutions gives what the direct one gives."""

import pytest
import torch
import torch.nn as nn

from adaqual_core.networks.winograd import GROUP, conv3x3, suits


def convolution(channels, outputs):
    torch.manual_seed(0)
    return nn.Conv2d(channels, outputs, 3, padding=1).requires_grad_(False)


@pytest.mark.parametrize(
    "shape, outputs",
    [((2, 64, 32, 32), 96), ((9, 80, 16, 16), 64), ((1, 64, 44, 68), 64), ((1, 64, 4, 4 * 600), 64), ((70, 64, 8, 4), 64)],
)
def test_it_equals_the_direct_sum(shape, outputs):
    conv, x = convolution(shape[1], outputs), torch.randn(shape)
    with torch.inference_mode():
        assert suits(conv, x)
        exact, found = conv.double()(x.double()), conv3x3(conv.float(), x)
    assert found.shape == exact.shape
    assert (found - exact).abs().max() < 2e-5 * exact.abs().max()
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("x", [torch.randn(2, 64, 32, 30), torch.randn(1, 64, 16, 16), torch.randn(2, 64, 64, 64).double()])
def test_elsewhere_it_is_the_convolution_itself(x):
    conv = convolution(64, 64).to(x.dtype)
    with torch.inference_mode():
        assert not suits(conv, x) and torch.equal(conv3x3(conv, x), conv(x))


def test_gradients_need_the_direct_sum():
    conv, x = convolution(64, 64), torch.randn(1, 64, 4, 4 * GROUP, requires_grad=True)
    assert not suits(conv, x)
    conv3x3(conv, x).sum().backward()
    assert x.grad.abs().max() > 0
