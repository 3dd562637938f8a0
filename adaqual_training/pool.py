"""This module keeps a pool of scenes on disk, which is renewed while training goes on.

Making a scene costs more than training on one crop of it, so every scene serves several crops. Scenes are made in shards by
processes in the background. Which scene, and which crop of it, serves the n-th sample of a run is a pure function of the seed
and n: a resumed run, or a run shared by several processes, sees exactly the same samples.
"""

import multiprocessing
import os
import random
import time
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from adaqual_core.quality.bundled import load_assessor
from adaqual_core.quality.estimator import QualityEstimator

from .scenes import Photos, SceneSettings, make_scene

_photos: Photos | None = None
_assessor: QualityEstimator | None = None


@dataclass(frozen=True)
class PoolSettings:
    """This class holds the sizes of the pool (a recipe's table ``pool``).

    ``shard``: scenes in a shard. ``uses``: samples that a scene serves on average. ``window``: shards that are drawn from at a
    time. ``ahead``: shards that are made in advance. ``workers``: processes that make them.
    """

    shard: int
    uses: int
    window: int
    ahead: int
    workers: int


def _start_worker(corpus: Path, split: str, assessor: Path | None) -> None:
    global _photos, _assessor
    os.nice(15)  # it fills the gaps that the training leaves, and does not hold up its threads
    torch.set_num_threads(1)
    _photos = Photos(corpus, split)
    _assessor = load_assessor(assessor) if assessor else None


def _make_shard(path: Path, settings: SceneSettings, seed: int, first: int, count: int) -> None:
    assert _photos is not None
    scenes = [make_scene(_photos, settings, seed, number, _assessor) for number in range(first, first + count)]
    stacked = {key: torch.stack([scene[key] for scene in scenes]).contiguous() for key in scenes[0]}
    partial = path.with_suffix(f".{os.getpid()}.partial")
    save_file(stacked, partial)
    os.replace(partial, path)


class Pool:
    """This class is the stream of samples of one run.

    ``folder`` keeps the shards. ``corpus``: the corpus folder whose photos of split "train" are damaged. ``makes``: whether
    this process makes shards; others wait for the files. ``assessor``: file of the assessor whose maps the scenes are to hold.
    Use it as a context manager: leaving it ends the workers.
    """

    def __init__(
        self,
        folder: Path,
        corpus: Path,
        scenes: SceneSettings,
        settings: PoolSettings,
        seed: int,
        *,
        assessor: Path | None = None,
        makes: bool = True,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.scenes, self.settings, self.seed = folder, scenes, settings, seed
        self.loaded: dict[int, dict[str, Tensor]] = {}
        self.pending: dict[int, Future] = {}
        self.workers = None
        if makes:
            context = multiprocessing.get_context("spawn")
            self.workers = ProcessPoolExecutor(settings.workers, context, _start_worker, (corpus, "train", assessor))

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_) -> None:
        if self.workers is not None:
            self.workers.shutdown(wait=True, cancel_futures=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"shard-{self.seed}-{number}.safetensors"

    def _order(self, number: int) -> None:
        if self.workers is not None and number not in self.pending and not self._path(number).is_file():
            count = self.settings.shard
            job = (self._path(number), self.scenes, self.seed, number * count, count)
            self.pending[number] = self.workers.submit(_make_shard, *job)

    def _shard(self, number: int) -> dict[str, Tensor]:
        if number not in self.loaded:
            self._order(number)
            if number in self.pending:
                self.pending.pop(number).result()
            while not self._path(number).is_file():
                time.sleep(0.05)
            self.loaded[number] = load_file(self._path(number))
        return self.loaded[number]

    def _forget_before(self, number: int) -> None:
        for old in [n for n in self.loaded if n < number]:
            del self.loaded[old]
            if self.workers is not None:
                self._path(old).unlink(missing_ok=True)

    def sample(self, n: int) -> tuple[dict[str, Tensor], random.Random]:
        """Return the scene of the ``n``-th sample of the run, and the random numbers with which it is cropped."""
        rng = random.Random(f"{self.seed}/sample/{n}")
        newest = n // (self.settings.shard * self.settings.uses)
        oldest = max(0, newest - self.settings.window + 1)
        shard = self._shard(rng.randint(oldest, newest))
        index = rng.randrange(self.settings.shard)
        return {key: value[index] for key, value in shard.items()}, rng

    def batch(self, first: int, count: int) -> tuple[dict[str, Tensor], list[random.Random]]:
        """Return the scenes of samples ``first`` to ``first`` + ``count``, stacked, and their random numbers."""
        newest = (first + count) // (self.settings.shard * self.settings.uses)
        for number in range(newest, newest + self.settings.ahead + 1):
            self._order(number)
        self._forget_before(newest - self.settings.window)
        scenes, numbers = zip(*(self.sample(n) for n in range(first, first + count)), strict=True)
        return {key: torch.stack([scene[key] for scene in scenes]) for key in scenes[0]}, list(numbers)
