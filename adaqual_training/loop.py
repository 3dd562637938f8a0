"""This module is the training loop of :mod:`adaqual_training.distil`: averaging, state, log and clock."""

import copy
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from adaqual_core.weight_files import save_model


def update_average(average: nn.Module, model: nn.Module, iteration: int, decay: float) -> None:
    """Update the exponential moving average of the weights. Its decay rises from 0, so that the first iterations count."""
    decay = min(decay, (1 + iteration) / (10 + iteration))
    with torch.no_grad():
        for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)


@dataclass
class Progress:
    """This class says how far a run has come: updates and hours, in all its sessions together."""

    iteration: int = 0
    hours: float = 0.0


class Run:
    """This class is a training run: its folder (state, log, newest weights), its networks, and its clock.

    ``hours``: time that this session may take. A ``state.pt`` in the folder is resumed from. ``average`` holds the exponential
    moving average of ``model``'s weights, which is evaluated and shipped.
    """

    def __init__(self, folder: Path, model: nn.Module, rate: float, hours: float, device: torch.device):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "stop").unlink(missing_ok=True)
        self.folder, self.rate, self.hours, self.device = folder, rate, hours, device
        self.model = model.to(device, memory_format=torch.channels_last).train().requires_grad_(True)
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
        self.done, self.before = Progress(), 0.0
        self.state = folder / "state.pt"
        if self.state.exists():
            state = torch.load(self.state, map_location=device, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.done, self.before = Progress(state["iteration"], state["hours"]), state["hours"]
        self.started = time.time()

    def spent(self) -> float:
        """Return the share of this session's time that is used up, 0 to 1."""
        return (time.time() - self.started) / (3600 * self.hours) if self.hours else 1.0

    def step(self, loss: Tensor, decay: float) -> None:
        """Update the weights and their average once."""
        set_rate(self.optimizer, self.rate, self.done.iteration, self.spent())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.done.iteration += 1
        self.done.hours = self.before + (time.time() - self.started) / 3600
        update_average(self.average, self.model, self.done.iteration, decay)

    def finished(self) -> bool:
        """Return whether the session's share is used up, or a file named ``stop`` asks for the end."""
        return self.spent() >= 1 or (self.folder / "stop").exists()

    def save(self, weights: str, **measured) -> None:
        """Log the values ``measured``, and write the state and the average's ``weights``, whole or not at all."""
        log_line(self.folder / "log.jsonl", iteration=self.done.iteration, hours=round(self.done.hours, 3), **measured)
        partial = self.state.with_suffix(".partial")
        torch.save(
            {
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                **vars(self.done),
            },
            partial,
        )
        os.replace(partial, self.state)
        card = {"iterations": self.done.iteration, "hours": round(self.done.hours, 2)}
        save_model(self.average, self.folder / weights, card)


def log_line(path: Path, **values) -> None:
    """Append one JSON line to the log and show it."""
    line = json.dumps({"time": time.strftime("%Y-%m-%d %H:%M:%S"), **values})
    with path.open("a") as log:
        log.write(line + "\n")
    print(line, flush=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float, iteration: int, progress: float) -> None:
    """Set the learning rate to ``rate`` after 200 iterations of warm-up; it falls to 5 % over the last quarter of ``progress``
    0..1."""
    decay = min(1.0, max(0.05, 4 * (1 - progress)))
    for group in optimizer.param_groups:
        group["lr"] = rate * decay * min(1.0, (iteration + 1) / 200)
