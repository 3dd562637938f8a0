"""This module computes 3×3 convolutions with a quarter of the products, for CPUs: F(4×4, 3×3) of Winograd's algorithm (Lavin &
Gray 2015).

Input is cut into 6×6 blocks that overlap by 2; with V = BᵀDB and U = GWGᵀ of every pair of channels, a 4×4 block of the
result is Aᵀ(Σ U·V)A. The sum over channels is a matrix product for each of the 36 places. Rounding differs from the direct
sum by about 1e-5 of the largest value; graphics cards' libraries choose such algorithms by themselves.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

GROUP = 128
"""Blocks that are transformed together: few enough to stay in a core's cache, enough for the products to be fast."""

_INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_WEIGHT = ((6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24))  # times 24
_OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


def _both_ways(rows: tuple[tuple[int, ...], ...], divisor: int = 1) -> Tensor:
    """Return the matrix that applies ``rows``/``divisor`` to the rows and to the columns of a flattened block."""
    matrix = torch.tensor(rows, dtype=torch.float64) / divisor
    return torch.kron(matrix, matrix).float()


def suits(conv: Any, x: Tensor) -> bool:
    """Return whether :func:`conv3x3` takes the short way: no gradients, float32 on a CPU, 4×4 blocks, enough of them.

    The weights are transformed at every call, as their transforms take four times their memory; this pays from some
    hundred blocks.
    """
    batch, channels, height, width = x.shape
    return (
        not torch.is_grad_enabled()
        and x.device.type == conv.weight.device.type == "cpu"
        and x.dtype == conv.weight.dtype == torch.float32
        and (height % 4, width % 4) == (0, 0)
        and batch * height * width >= 16 * GROUP
        and min(channels, len(conv.weight)) >= 64
    )


def _groups(batch: int, rows: int, columns: int) -> list[tuple[slice, slice]]:
    """Return the parts (pictures, rows of blocks) of the work with about ``GROUP`` blocks each."""
    if rows * columns < GROUP:
        step = max(1, GROUP // (rows * columns))
        return [(slice(i, i + step), slice(None)) for i in range(0, batch, step)]
    step = max(1, GROUP // columns)
    return [(slice(i, i + 1), slice(j, j + step)) for i in range(batch) for j in range(0, rows, step)]


def conv3x3(conv: Any, x: Tensor) -> Tensor:
    """Return ``conv(x)`` for a 3×3 Conv2d with bias, stride 1 and padding 1, computed the short way where it :func:`suits`.

    [B, C, H, W] → [B, O, H, W], in channels-last order then.
    """
    if not suits(conv, x):
        return conv(x)
    batch, channels, height, width = x.shape
    outputs, rows, columns = len(conv.weight), height // 4, width // 4
    weights = (_both_ways(_WEIGHT, 24) @ conv.weight.permute(2, 3, 1, 0).reshape(9, -1)).view(36, channels, outputs)
    into, out_of = _both_ways(_INPUT), _both_ways(_OUTPUT)
    # [6, 6, B, rows, columns, C] and [4, 4, B, rows, columns, O]
    blocks = F.pad(x, (1, 1, 1, 1)).permute(0, 2, 3, 1).unfold(1, 6, 4).unfold(2, 6, 4).permute(4, 5, 0, 1, 2, 3)
    result = torch.empty((batch, height, width, outputs))
    places = result.view(batch, rows, 4, columns, 4, outputs).permute(2, 4, 0, 1, 3, 5)
    for pictures, lines in _groups(batch, rows, columns):
        part = blocks[:, :, pictures, lines]
        found = torch.bmm((into @ part.reshape(36, -1)).view(36, -1, channels), weights)
        target = places[:, :, pictures, lines]
        target.copy_((out_of @ found.view(36, -1)).view(target.shape))
    return result.add_(conv.bias).permute(0, 3, 1, 2)
