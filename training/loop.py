"""What both training runs share: weight averaging, resumable state, the log, and the clock."""

import json
import os
import time
from pathlib import Path

import torch
from torch import nn


def update_average(average: nn.Module, model: nn.Module, iteration: int, decay: float) -> None:
    """Exponential moving average of the weights, with the decay warming up so that early iterations count."""
    decay = min(decay, (1 + iteration) / (10 + iteration))
    with torch.no_grad():
        for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)


def save_state(path: Path, **state) -> None:
    """Write a training state whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def log_line(path: Path, **values) -> None:
    """Append one JSON line to the log and show it."""
    line = json.dumps({"time": time.strftime("%Y-%m-%d %H:%M:%S"), **values})
    with path.open("a") as log:
        log.write(line + "\n")
    print(line, flush=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float, iteration: int, progress: float) -> None:
    """Learning rate ``rate`` after 200 iterations of warm-up, falling to 5 % over the last quarter of ``progress`` 0..1."""
    decay = min(1.0, max(0.05, 4 * (1 - progress)))
    for group in optimizer.param_groups:
        group["lr"] = rate * decay * min(1.0, (iteration + 1) / 200)


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is native: on accelerators, and on processors with AVX-512 BF16."""
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())
    return device.type == "cuda" and torch.cuda.is_bf16_supported()
