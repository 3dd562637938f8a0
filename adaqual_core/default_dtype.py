"""This module guards torch's default dtype, which belongs to the whole process: another node pack may have changed it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def float32_default() -> Iterator[None]:
    """Make float32 torch's default dtype within the block, or within a function as its decorator, and then restore the dtype.

    Every public function of the core that makes tensors carries it. Constants, random numbers and quotients of integers
    take the default dtype, and float64 or float16 would break operations with float32 pictures and weights.
    """
    found = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(found)
