"""This module runs a training: schedule, averaging, evaluation, log and exact resumption, on accelerate, in one or several
processes.

``accelerate launch -m adaqual_training --recipe FILE`` (or torchrun) shares a run between processes; every process takes its part
of each global batch. Samples, crops and noise are functions of the recipe's seed and the number of the sample. So the run does
not depend on the number of processes, and a resumed run equals one that was never stopped.
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
from safetensors.torch import load_file
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
    """This class is the result of an evaluation.

    ``values``: numbers for the log. ``score``: higher is better; it decides which weights are kept as the best. ``sheet``: the
    worst pictures as one picture [1, 3, H, W] in [0, 1].
    """

    values: dict[str, float]
    score: float
    sheet: Tensor


class Task(Protocol):
    """This protocol holds the parts of a training that differ from network to network."""

    network: nn.Module
    objective: nn.Module
    """The module that holds ``network``. It maps a batch to a dict of scalar losses, of which "loss" is minimised."""

    def batch(self, scenes: dict[str, Tensor], numbers: list, update: int) -> dict[str, Tensor]:
        """Return the tensors that the objective needs of these scenes."""
        ...

    def evaluate(self, network: nn.Module, device: torch.device) -> Evaluation:
        """Measure ``network`` on held-out pictures."""
        ...

    def save(self, network: nn.Module, path: Path, notes: dict[str, Any]) -> None:
        """Write the network as a model file."""
        ...


def rate_at(update: int, warmup: int, updates: int) -> float:
    """Return the share of the full learning rate: it rises linearly over ``warmup`` updates, then falls along a cosine to 0 at
    ``updates``."""
    if update < warmup:
        return (update + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (update - warmup) / (updates - warmup))))


def bfloat16_is_fast(device: torch.device) -> bool:
    """Return whether bfloat16 arithmetic is native, as on accelerators and on processors with AVX-512 BF16."""
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def commit() -> str:
    """Return the commit of the running checkout, with "+" if its files are changed; "unknown" outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=12", "--dirty=+"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def begin_with(network: nn.Module, start: Path) -> dict[str, Any]:
    """Give a network the weights in a file, and return what the header of its own weights says about that.

    The file may lack parameters of the network, as that of an earlier version does: those keep their first values, and the
    result names them. ValueError if there is no such file, or if it holds anything that the network has no place for.
    """
    if not start.is_file():
        raise ValueError(f"--start: no file {start}; give weights of the same network, or leave it out")
    weights, own = load_file(start), network.state_dict()
    odd = [name for name, value in weights.items() if name not in own or own[name].shape != value.shape]
    if odd:
        raise ValueError(f"--start: {start} does not fit the recipe's network ({odd[0]}); give weights of the same sizes")
    network.load_state_dict(weights, strict=False)
    digest = hashlib.sha256(start.read_bytes()).hexdigest()
    return {"start_sha256": digest, "start_lacks": sorted(set(own) - set(weights))}


class Run:
    """This class is a run: its networks, its state, and its folder.

    ``folder`` holds ``state`` (the run is resumed from it), ``log.jsonl``, ``NETWORK.safetensors`` (the newest average),
    ``NETWORK.best.safetensors`` and ``worst.png``. A file named ``stop`` in it ends the run after the current update. A new run
    begins with the weights in the file ``start`` if one is given.
    """

    def __init__(self, recipe: Recipe, task: Task, corpus: Path, folder: Path, device: str | None, start: Path | None = None):
        self.begun = {} if start is None else begin_with(task.network, start)
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

    def state_dict(self) -> dict[str, Any]:
        """Return the state of a run that accelerate does not keep itself: all but weights, optimiser and schedule."""
        return {"update": self.update, "hours": self.hours, "best": self.best, **self.begun}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that :meth:`state_dict` returned."""
        self.update, self.hours, self.best = int(state["update"]), float(state["hours"]), float(state["best"])
        self.begun = {key: state[key] for key in state if key.startswith("start_")}

    def _batch(self, pool: Pool, update: int) -> dict[str, Tensor]:
        """Return this process's share of the batch of an update."""
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
        """Return the facts about the training that the header of the weights keeps."""
        told = self.recipe.assessor
        packages = {name: version(name) for name in ("torch", "accelerate", "numpy", "Pillow")}
        return {
            "recipe": self.recipe.text,
            "recipe_sha256": self.recipe.sha256,
            "commit": self.commit,
            "corpus_sha256": corpus_hash,
            "assessor_sha256": None if told is None else hashlib.sha256(told.read_bytes()).hexdigest(),
            **self.begun,
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
        """Train until the schedule ends, for at most ``hours`` or ``updates`` in this call, or until a file named ``stop``
        appears.
        """
        schedule, main = self.recipe.schedule, self.accelerator.is_main_process
        self.folder.mkdir(parents=True, exist_ok=True)
        stop = self.folder / "stop"
        if main:
            stop.unlink(missing_ok=True)
        self.accelerator.wait_for_everyone()
        until = schedule.updates if updates is None else min(schedule.updates, self.update + updates)
        corpus_hash = json.loads((self.corpus / "manifest.json").read_text())["hash"]
        started, before, sums, counted = time.time(), self.hours, {}, 0
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
                counted += 1
                self.hours = before + (time.time() - started) / 3600
                asked = stop.exists() or (hours is not None and time.time() - started >= 3600 * hours)
                ending = torch.tensor(float(asked or self.update >= until), device=self.accelerator.device)
                ended = bool(self.accelerator.reduce(ending, "sum")) if self.accelerator.num_processes > 1 else bool(ending)
                if ended or self.update % schedule.evaluate_every == 0:
                    self._evaluate(corpus_hash, {key: round(float(value) / counted, 5) for key, value in sums.items()})
                    sums, counted = {}, 0
                if ended:
                    break


def describe(recipe: Recipe, run: Run) -> None:
    """Print what is about to be trained."""
    parameters = sum(p.numel() for p in run.task.network.parameters())
    print(
        f"{recipe.network}: {parameters:,} parameters, update {run.update} of {recipe.schedule.updates}, "
        f"{run.accelerator.num_processes} process(es) on {run.accelerator.device}, {run.accelerator.mixed_precision}",
        file=sys.stderr,
    )
