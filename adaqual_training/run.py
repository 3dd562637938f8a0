"""One training run: schedule, averaging, evaluation, log and exact resume, on accelerate, in one or several processes.

``accelerate launch -m adaqual_training --recipe FILE`` (or torchrun) shares a run between processes; every process takes its
part of each global batch. Samples, crops and noise are functions of the recipe's seed and the number of the sample, so the run
does not depend on the number of processes, and a resumed run equals one that was never stopped.
"""

import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn as nn
from accelerate import Accelerator
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from adaqual_core.imageio import write_picture
from adaqual_core.kinds import KINDS

from .pool import Pool
from .recipe import Recipe

STATE = "state"


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation measured: ``values`` for the log, ``score`` (higher is better) by which the best weights are kept, and
    ``sheet`` [1, 3, H, W] in [0, 1] of the worst pictures."""

    values: dict[str, float]
    score: float
    sheet: Tensor


class Task(Protocol):
    """What differs between the networks that are trained."""

    network: nn.Module
    objective: nn.Module
    """Holds ``network``; maps a batch to a dict of scalar losses, of which "loss" is minimised."""

    def batch(self, scenes: dict[str, Tensor], numbers: list, update: int) -> dict[str, Tensor]:
        """What the objective needs of these scenes."""
        ...

    def evaluate(self, network: nn.Module, device: torch.device) -> Evaluation:
        """Measure ``network`` on held-out pictures."""
        ...

    def save(self, network: nn.Module, path: Path, notes: dict[str, Any]) -> None:
        """Write the network as a model file."""
        ...


def rate_at(update: int, warmup: int, updates: int) -> float:
    """Share of the full learning rate: a linear rise over ``warmup`` updates, then a cosine that reaches 0 after ``updates``."""
    if update < warmup:
        return (update + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (update - warmup) / (updates - warmup))))


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is native: on accelerators, and on processors with AVX-512 BF16."""
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def commit() -> str:
    """The commit of the checkout that runs, with "+" if it is changed; "unknown" outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=12", "--dirty=+"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


class Run:
    """A run's folder with its state, log, newest and best weights.

    ``folder`` holds ``state`` (resumed from where it is there), ``log.jsonl``, ``NETWORK.safetensors`` (the newest average),
    ``NETWORK.best.safetensors`` and ``worst.png``. A file named ``stop`` in it ends the run after the current update.
    """

    def __init__(self, recipe: Recipe, task: Task, corpus: Path, folder: Path, device: str | None):
        if device is not None and device != "cpu" and not torch.cuda.is_available():
            raise ValueError(f"--device: {device}, but there is none; give cpu or leave it out")
        on_cpu = device == "cpu" or not torch.cuda.is_available()
        fast = recipe.schedule.precision == "bfloat16" and bfloat16_is_fast(torch.device("cpu" if on_cpu else "cuda"))
        # Compiling makes the networks slower on a processor (measured).
        compiler = "no" if on_cpu else "inductor"
        self.accelerator = Accelerator(cpu=on_cpu, mixed_precision="bf16" if fast else "no", dynamo_backend=compiler)
        if recipe.schedule.batch % self.accelerator.num_processes:
            raise ValueError(
                f"schedule.batch {recipe.schedule.batch}: give a multiple of {self.accelerator.num_processes} processes"
            )
        self.recipe, self.task, self.corpus, self.folder = recipe, task, corpus, folder
        self.update, self.hours, self.best = 0, 0.0, -math.inf
        self.commit = commit()  # of the code that runs, whatever is checked out later
        schedule = recipe.schedule
        objective = task.objective.to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(
            task.network.parameters(), lr=schedule.rate, betas=(0.9, 0.99), weight_decay=schedule.weight_decay, fused=True
        )
        scheduler = LambdaLR(optimizer, lambda update: rate_at(update, schedule.warmup, schedule.updates))
        self.average = AveragedModel(task.network, multi_avg_fn=get_ema_multi_avg_fn(schedule.average), use_buffers=True)
        self.average.to(self.accelerator.device)
        self.objective, self.optimizer = self.accelerator.prepare(objective, optimizer)
        self.scheduler = scheduler
        self.accelerator.register_for_checkpointing(self.average, self.scheduler, self)
        if (folder / STATE).is_dir():
            self.accelerator.load_state(str(folder / STATE))

    def state_dict(self) -> dict[str, float]:
        """What a resumed run continues from beside weights, optimiser and schedule."""
        return {"update": self.update, "hours": self.hours, "best": self.best}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue from this state."""
        self.update, self.hours, self.best = int(state["update"]), float(state["hours"]), float(state["best"])

    def _batch(self, pool: Pool, update: int) -> dict[str, Tensor]:
        """This process's share of the batch of an update."""
        share = self.recipe.schedule.batch // self.accelerator.num_processes
        first = update * self.recipe.schedule.batch + self.accelerator.process_index * share
        return self.task.batch(*pool.batch(first, share), update)

    def _step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        schedule = self.recipe.schedule
        batch = {key: value.to(self.accelerator.device, non_blocking=True) for key, value in batch.items()}
        losses = self.objective(batch)
        self.accelerator.backward(losses["loss"])
        self.accelerator.clip_grad_norm_(self.objective.parameters(), schedule.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.scheduler.step()
        self.average.update_parameters(self.task.network)
        self.update += 1
        return losses

    def _save_state(self) -> None:
        partial = self.folder / f"{STATE}.partial"
        if self.accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(partial))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            old = self.folder / f"{STATE}.old"
            shutil.rmtree(old, ignore_errors=True)
            if (self.folder / STATE).exists():
                os.replace(self.folder / STATE, old)
            os.replace(partial, self.folder / STATE)
            shutil.rmtree(old, ignore_errors=True)

    def notes(self, corpus_hash: str, values: dict[str, float]) -> dict[str, Any]:
        """What the header of the weights says about how they were made."""
        told = self.recipe.assessor
        packages = {name: version(name) for name in ("torch", "accelerate", "numpy", "Pillow")}
        return {
            "recipe": self.recipe.text,
            "recipe_sha256": self.recipe.sha256,
            "commit": self.commit,
            "corpus_sha256": corpus_hash,
            "assessor_sha256": None if told is None else hashlib.sha256(told.read_bytes()).hexdigest(),
            "versions": {"python": platform.python_version(), **packages},
            "updates": self.update,
            "hours": round(self.hours, 3),
            "processes": self.accelerator.num_processes,
            "device": self.accelerator.device.type,
            "kinds": list(KINDS),
            "held_out": values,
        }

    def _evaluate(self, corpus_hash: str, losses: dict[str, float]) -> None:
        if self.accelerator.is_main_process:
            found = self.task.evaluate(self.average.module, self.accelerator.device)
            line = {
                "update": self.update,
                "hours": round(self.hours, 3),
                **losses,
                "score": round(found.score, 4),
                **found.values,
            }
            with (self.folder / "log.jsonl").open("a") as log:
                log.write(json.dumps({"time": time.strftime("%Y-%m-%d %H:%M:%S"), **line}) + "\n")
            print(json.dumps(line), flush=True)
            write_picture(found.sheet, self.folder / "worst.png")
            name, notes = self.recipe.network, self.notes(corpus_hash, found.values)
            self.task.save(self.average.module, self.folder / f"{name}.safetensors", notes)
            if found.score > self.best:
                self.best = found.score
                self.task.save(self.average.module, self.folder / f"{name}.best.safetensors", notes)
        self._save_state()

    def train(self, *, hours: float | None = None, updates: int | None = None) -> None:
        """Go on until the schedule ends, for at most ``hours`` or ``updates`` in this call, or until someone asks for the end."""
        schedule, main = self.recipe.schedule, self.accelerator.is_main_process
        self.folder.mkdir(parents=True, exist_ok=True)
        stop = self.folder / "stop"
        if main:
            stop.unlink(missing_ok=True)
        self.accelerator.wait_for_everyone()
        until = schedule.updates if updates is None else min(schedule.updates, self.update + updates)
        corpus_hash = json.loads((self.corpus / "manifest.json").read_text())["hash"]
        started, before, sums = time.time(), self.hours, {}
        scenes, pool_settings = self.recipe.scenes, self.recipe.pool
        makes, told = self.accelerator.is_local_main_process, self.recipe.assessor
        shards = self.folder / "pool"
        with (
            Pool(shards, self.corpus, scenes, pool_settings, schedule.seed, assessor=told, makes=makes) as pool,
            ThreadPoolExecutor(1) as thread,  # makes the next batch while the network is trained on this one
        ):
            following = thread.submit(self._batch, pool, self.update)
            while self.update < until:
                batch = following.result()
                following = thread.submit(self._batch, pool, self.update + 1)
                for key, value in self._step(batch).items():
                    sums[key] = sums.get(key, 0.0) + value.detach()
                self.hours = before + (time.time() - started) / 3600
                asked = stop.exists() or (hours is not None and time.time() - started >= 3600 * hours)
                ending = torch.tensor(float(asked or self.update >= until), device=self.accelerator.device)
                ended = bool(self.accelerator.reduce(ending, "sum")) if self.accelerator.num_processes > 1 else bool(ending)
                if ended or self.update % schedule.evaluate_every == 0:
                    count = self.update % schedule.evaluate_every or schedule.evaluate_every
                    self._evaluate(corpus_hash, {key: round(float(value) / count, 5) for key, value in sums.items()})
                    sums = {}
                if ended:
                    break


def describe(recipe: Recipe, run: Run) -> None:
    """Tell on the terminal what is about to be trained."""
    parameters = sum(p.numel() for p in run.task.network.parameters())
    print(
        f"{recipe.network}: {parameters:,} parameters, update {run.update} of {recipe.schedule.updates}, "
        f"{run.accelerator.num_processes} process(es) on {run.accelerator.device}, {run.accelerator.mixed_precision}",
        file=sys.stderr,
    )
