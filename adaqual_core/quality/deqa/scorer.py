"""This module loads a DeQA-Score, decides where and how it runs, and scores prepared pictures."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from ...default_dtype import float32_default
from ...errors import CheckpointError, NumericalError
from .language import KeysValues
from .lowbit import check_bits
from .memory import free_bytes
from .network import DeqaNet, Prompt, Tick, ignore, resident, scores_from_logits, streamed
from .preprocess import PUBLISHED_PROMPT
from .shards import Shards, open_shards, read_network

STREAM_GROUP = 64
"""Number of pictures that pass a layer together when weights are streamed. Their hidden states take about 4 MB each."""


@dataclass
class DeqaScorer:
    """This class holds a network and how to run it: on ``device`` in ``dtype``, with its weights there or ``offloaded``.

    Offloaded weights stay in the host's memory in the file's own type. Each layer is copied to the device for all pictures of a
    group, then freed. ``fingerprint`` names the weights in the score cache.
    """

    net: DeqaNet
    prompt: Prompt
    device: torch.device
    dtype: torch.dtype
    offloaded: bool
    fingerprint: str
    prefix: list[KeysValues] | None = field(default=None, repr=False)
    name = "DeQA-Score"

    @property
    def size(self) -> int:
        """Return the side in px of the square that the network sees."""
        return self.net.config.vision.image_size

    @property
    def layer_count(self) -> int:
        """Return the number of times that ``tick`` is told of each picture."""
        return self.net.layer_count

    def score(self, count: int, prepare: Callable[[int], Tensor], batch: int = 8, tick: Tick = ignore) -> Tensor:
        """Return the scores [count] in [1, 5], float32 on the CPU, of the normalised pictures [3, size, size] of ``prepare(i)``.

        ``batch`` pictures run at once. ``tick(n)`` is called when n pictures have passed a layer; an exception in it cancels.
        :class:`NumericalError` is raised if the network gives NaN or infinity.
        """
        if batch < 1:
            raise ValueError(f"batch: {batch}; give at least 1")
        place = streamed(self.device, self.dtype) if self.offloaded else resident
        group = max(batch, STREAM_GROUP // batch * batch) if self.offloaded else batch
        logits = []
        with torch.inference_mode():
            for first in range(0, count, group):
                numbers = range(first, min(first + group, count))
                pictures = [prepare(number).to(self.device, self.dtype) for number in numbers]
                batches = [torch.stack(pictures[i : i + batch]) for i in range(0, len(pictures), batch)]
                del pictures
                found, self.prefix = self.net.level_logits(batches, self.prompt, self.prefix, place, tick)
                logits.extend(part.cpu() for part in found)
        every = torch.cat(logits)
        if not bool(torch.isfinite(every).all()):
            self.prefix = None
            raise NumericalError(
                f"DeQA-Score gave NaN or infinity in {self.dtype}; its files are damaged, or the device cannot compute "
                "in this type: use float32, or bfloat16 where the device has it"
            )
        return scores_from_logits(every).clamp(1, 5)


def _compute_type(shards: Shards, device: torch.device) -> torch.dtype:
    """Return float32 on the CPU; on other devices the file's half-precision type, or float16 if it has none."""
    if device.type == "cpu":
        return torch.float32
    stored = shards.types["lm_head.weight"]
    return torch.float16 if stored == torch.float32 else stored


def _streamed_bytes(shards: Shards, dtype: torch.dtype) -> int:
    """Return the bytes of weights on the device when streaming: two language layers, because one is copied before the last is
    freed."""
    layer = [shape for key, shape in shards.shapes.items() if key.startswith("model.layers.0.")]
    return 2 * dtype.itemsize * sum(prod(shape) for shape in layer)


def _readable(count: int) -> str:
    return f"{count / 1e9:.1f} GB ({count} bytes)"


@float32_default()
def load_deqa(
    path: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    offload: bool | None = None,
    bits: int | None = None,
    free: Callable[[torch.device], int | None] = free_bytes,
    prompt: Prompt = PUBLISHED_PROMPT,
    operations: Any = nn,
) -> DeqaScorer:
    """Return the DeQA-Score in ``path``: a folder with config.json and safetensors shards, an index file, or one file.

    ``dtype``: type to compute in; by default float32 on the CPU and the file's half-precision type elsewhere. ``offload``: keep
    the weights in the host's memory in the file's type and stream them by layers; by default only if they do not fit otherwise.
    ``bits`` 8 or 4 packs most of the language model's weights (:mod:`adaqual_core.quality.deqa.lowbit`). ``free`` returns the
    bytes that are free on a device, or None if unknown. :class:`CheckpointError` is raised, for files and for memory, before any
    weight is read.
    """
    check_bits(bits)
    device = torch.device(device)
    shards = open_shards(path)
    dtype = dtype or _compute_type(shards, device)
    host = torch.device("cpu")
    whole, stored = shards.read_bytes(prompt, dtype, bits), shards.read_bytes(prompt, bits=bits)
    moving = _streamed_bytes(shards, dtype)
    streaming = {host: stored + moving} if device.type == "cpu" else {host: stored, device: moving}
    demands = {False: {device: whole}, True: streaming}

    def lack(offloaded: bool) -> str:
        for place, needed in demands[offloaded].items():
            available = free(place)
            if available is not None and available < needed:
                way = "streamed by layers" if offloaded else "as a whole"
                return f"{_readable(needed)} on {place} to run {way}, of which {_readable(available)} are free"
        return ""

    ways = [False, True] if offload is None else [offload]
    lacks = [lack(way) for way in ways]
    if all(lacks):
        raise CheckpointError(
            f"{shards.origin}: not enough memory; it needs "
            + ", or ".join(lacks)
            + ". Close other programs"
            + ("" if offload is not False else ", allow offloading,")
            + " or use a smaller assessor"
        )
    offloaded = ways[lacks.index("")]
    net, compact, fingerprint = read_network(
        shards, prompt, host if offloaded else device, None if offloaded else dtype, operations, bits
    )
    return DeqaScorer(net, compact, device, dtype, offloaded, fingerprint)
