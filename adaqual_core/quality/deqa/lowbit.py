"""This module packs the language model's linear weights in 8 or 4 bits, with the package bitsandbytes.

Only these weights are packed: they are 6.6 of the 8.2 billion parameters. 8 bits are bitsandbytes' dynamic map with a scale per
256 weights; 4 bits are NF4 (arXiv 2305.14314) with a scale per 64 weights.
"""

import functools

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ...errors import CheckpointError
from .network import DeqaNet

BLOCKS = {8: 256, 4: 64}
"""Number of weights that share a scale, by bits."""


def _package():
    """Return bitsandbytes.functional; raise :class:`CheckpointError` if the package is missing or cannot be imported."""
    try:
        import bitsandbytes.functional
    except Exception as problem:  # its native part raises almost anything
        raise CheckpointError(
            f"weights in 8 or 4 bits need the package bitsandbytes, which cannot be imported here ({problem}); install it "
            "(pip install bitsandbytes), or keep the weights as in the files"
        ) from None
    return bitsandbytes.functional


@functools.cache
def _dynamic_map() -> Tensor:
    """Return the 256 values of bitsandbytes' 8-bit type. bitsandbytes would compute them for each of some 200 modules at every
    call."""
    return _package().create_dynamic_map()


def check_bits(bits: int | None) -> None:
    """Raise ValueError for a number of bits other than 8 and 4, and :class:`CheckpointError` if the package is missing."""
    if bits is not None:
        if bits not in BLOCKS:
            raise ValueError(f"bits: {bits}; give 8 or 4, or None for the weights as in the files")
        _package()


def packed_bytes(count: int, bits: int) -> int:
    """Return the number of bytes of ``count`` packed weights and their scales."""
    return -(-count * bits // 8) + 4 * -(-count // BLOCKS[bits])


def pack(weight: Tensor, bits: int) -> dict[str, Tensor]:
    """Return the tensors of a :class:`LowBitLinear` with this weight [outputs, inputs], on its device."""
    package, weight = _package(), weight.contiguous()
    if bits == 8:
        packed, state = package.quantize_blockwise(weight, blocksize=BLOCKS[8])
    else:
        packed, state = package.quantize_4bit(weight, blocksize=BLOCKS[4], quant_type="nf4")
    return {"packed": packed.flatten(), "scales": state.absmax.float()}


class LowBitLinear(nn.Module):
    """This layer computes x·Wᵀ with a packed W [outputs, inputs], which is unpacked for each call on the device and in the type
    of ``x``.
    """

    packed: Tensor
    scales: Tensor

    def __init__(self, inputs: int, outputs: int, bits: int):
        super().__init__()
        self.shape, self.bits, count = (outputs, inputs), bits, inputs * outputs
        self.register_buffer("packed", torch.empty(-(-count * bits // 8), dtype=torch.uint8))
        self.register_buffer("scales", torch.empty(-(-count // BLOCKS[bits])))

    def weight_as(self, x: Tensor) -> Tensor:
        """Return W on the device and in the type of ``x``."""
        package, packed = _package(), self.packed.to(x.device)
        kind = {
            "absmax": self.scales.to(x.device, torch.float32),
            "shape": torch.Size(self.shape),
            "dtype": x.dtype,
            "blocksize": BLOCKS[self.bits],
        }
        if self.bits == 8:
            state = package.QuantState(**kind, code=_dynamic_map().to(x.device))
            return package.dequantize_blockwise(packed.view(self.shape), state)
        return package.dequantize_4bit(packed[:, None], package.QuantState(**kind, quant_type="nf4"))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_as(x))


def packable(key: str, shape: tuple[int, ...]) -> bool:
    """Return whether a weight of this name and shape is one of the language layers' linear weights."""
    return key.startswith("model.layers.") and len(shape) == 2


def make_room(net: DeqaNet, bits: int) -> None:
    """Replace the linear modules of the language layers by empty :class:`LowBitLinear` modules."""
    for parent in list(net.model.layers.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, LowBitLinear(child.in_features, child.out_features, bits))
