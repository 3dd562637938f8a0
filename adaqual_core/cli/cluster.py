"""This module restores pictures for ``adaqual restore --cluster`` on the machines of a Ray cluster.

Ray Data starts one worker process with its own models for each device or share of cores, hands the files out one by one, starts a
worker anew that died, and gives out its file again. Every machine reads and writes the same paths: only names and reports travel.
"""

import argparse
import json
import logging
import os
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..pictures.opening import allow_megapixels
from .chain import open_device
from .jobs import Job
from .messages import UsageError, message_of
from .work import Outcome, Work, attempted, open_work, restore_file

ROUNDS, TRIES = 2, 2
"""How often a file is given out whose worker dies: that many tries in each round, because one that kills every worker must not be
tried for ever. The second round is for files of a machine that died: until the cluster has noticed that, which takes half a
minute, Ray counts every failure to reach it as a try.
"""


@dataclass(frozen=True)
class Pool:
    """This class describes the workers of a cluster: how many it has room for, and the cores and GPUs that each one has for
    itself.
    """

    size: int
    cores: int
    gpus: int

    @property
    def share(self) -> dict[str, Any]:
        """Return what Ray is asked to keep free for each worker."""
        return {"num_cpus": 1 if self.gpus else self.cores, "num_gpus": self.gpus}


def _check_answer(address: str) -> None:
    """Raise OSError where an address with a port does not answer within five seconds; Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect this process to the Ray cluster at an address, or to a new one on this machine where it is ``local``.

    Raises RuntimeError where Ray is not installed or no cluster answers, and UsageError for an address of Ray's client, through
    which Ray Data hands out no work.
    """
    if address.startswith("ray://"):
        raise UsageError(
            f"--cluster: {address}: Ray Data does not work through Ray's client; run the command on a machine of the "
            "cluster and give auto"
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as missing:
        raise RuntimeError(f"--cluster: needs Ray ({missing}); install it with pip install 'adaqual[cluster]'") from None
    alone: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        _check_answer(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **alone)
    except Exception as problem:  # Ray raises almost anything, a bare Exception among them
        raise RuntimeError(
            f"--cluster: {address}: no Ray cluster answers ({problem}); start one with `ray start --head`, or give local"
        ) from None
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.max_errored_blocks = -1  # a file that kills every worker is reported as failed and stops nothing else
        context.max_consecutive_actor_init_deaths = ROUNDS * TRIES
        context.execution_no_progress_timeout_s = -1  # a large picture may take longer than Ray Data waits
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        yield
    finally:
        ray.shutdown()


def find_pool(address: str, device: str) -> Pool:
    """Return the workers that the cluster has room for, on ``device``.

    Where the device may be a GPU and the cluster has any, a worker is one GPU; else it is as many cores as this process computes
    with, because the last bits of a sum depend on the number of threads. Raises UsageError where there is no room for one.
    """
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus, cores = sum(int(one.get("GPU", 0)) for one in machines), torch.get_num_threads()
    kind, _, index = device.partition(":")
    if index:
        raise UsageError(f"--device: '{device}' with --cluster; Ray gives every worker its own GPU: leave the number out")
    if kind == "cuda" and not gpus:
        raise UsageError(f"--device: 'cuda', but the cluster at {address} has no GPU; choose auto or cpu")
    if gpus and kind in ("auto", "cuda"):
        return Pool(gpus, cores, 1)
    largest = max((int(one.get("CPU", 0)) for one in machines), default=0)
    if largest < cores:
        raise UsageError(
            f"--cluster: this machine computes with {cores} threads, and so do workers, but the largest machine at {address} has "
            f"{largest} cores; set OMP_NUM_THREADS={max(1, largest)}"
        )
    return Pool(sum(int(one.get("CPU", 0)) // cores for one in machines), cores, 0)


def whole_paths(args: argparse.Namespace) -> argparse.Namespace:
    """Return the options with absolute paths, which mean the same in every process."""
    whole = copy(args)
    for name, value in vars(args).items():
        if isinstance(value, Path):
            setattr(whole, name, value.absolute())
    return whole


def shared_files(args: argparse.Namespace) -> list[Path]:
    """Return the files and folders of the options that are there on this machine, and must be on every other one."""
    return [value for value in vars(args).values() if isinstance(value, Path) and value.exists()]


def check_shared(paths: Sequence[Path]) -> None:
    """Raise RuntimeError in a worker's process on whose machine one of the paths does not exist."""
    for path in paths:
        if not path.exists():
            raise RuntimeError(
                f"--cluster: {path}: is not there on the worker {socket.gethostname()}; put it into a folder that every machine "
                "has at the same path"
            )


def open_on_worker(args: argparse.Namespace, cores: int) -> Work:
    """Open the models and settings of the options in a worker's process, which computes with ``cores`` threads from then on."""
    torch.set_num_threads(cores)
    if args.max_megapixels is not None:
        allow_megapixels(args.max_megapixels)
    return open_work(args, open_device(args.device))


def on_one_worker(task: Callable[..., Any], *values: Any, pool: Pool, meanwhile: Callable[[], None] = lambda: None) -> Any:
    """Return what ``task(*values)`` returns on one worker, and raise here what it raises there.

    ``meanwhile`` is called here twice a second until the worker is done.

    Raises RuntimeError where no worker can run it, for example because the package is missing on its machine.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        answer = ray.remote(**pool.share)(task).remote(*values)
        while not ray.wait([answer], timeout=0.5)[0]:
            meanwhile()
        return ray.get(answer)
    except RayTaskError as problem:
        said = str(problem.cause).strip()
        if "failed to import" not in said:
            raise problem.cause from None
        failed = said.splitlines()[-1]  # the last line of a worker's traceback
    except RayError as problem:
        failed = str(problem)
    raise RuntimeError(f"--cluster: no worker can start ({failed}); install the same packages on every machine")


def _try_out(args: argparse.Namespace, cores: int, shared: Sequence[Path]) -> None:
    """Open the models on a worker, so that what is wrong with them is raised before any picture is restored."""
    check_shared(shared)
    open_on_worker(args, cores)


def worked(worker: type, pieces: Sequence[Mapping[str, Any]], args: argparse.Namespace, pool: Pool) -> Iterator[dict[str, Any]]:
    """Yield the rows that workers make of ``pieces``, in the order in which they finish.

    A piece is a row with a ``number`` of its own, which the row that is made of it has too, and is given out alone. ``worker`` is
    constructed once in each process with the options and the number of threads, and is called with one piece as a batch of one
    row. A piece whose workers died in all tries of all rounds gives no row. Raises RuntimeError where no worker can be started.
    """
    ahead = {piece["number"]: dict(piece) for piece in pieces}
    for _ in range(ROUNDS):
        for row in _given_out(worker, list(ahead.values()), args, pool) if ahead else ():
            del ahead[row["number"]]
            yield row


def _given_out(worker: type, pieces: list[dict[str, Any]], args: argparse.Namespace, pool: Pool) -> Iterator[dict[str, Any]]:
    """Yield the rows of one round of :func:`worked`."""
    import ray.data
    from ray.exceptions import RayError
    from ray.util.annotations import RayDeprecationWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RayDeprecationWarning)  # of max_task_retries, which nothing else replaces in Ray 2.60
        rows = ray.data.from_items(pieces, override_num_blocks=len(pieces)).map_batches(
            worker,
            compute=ray.data.ActorPoolStrategy(size=min(pool.size, len(pieces)), max_tasks_in_flight_per_actor=1),
            batch_size=1,
            fn_constructor_args=(args, pool.cores),
            max_restarts=-1,
            max_task_retries=TRIES - 1,
            **pool.share,
        )
    try:
        yield from rows.iter_rows()
    except RayError as problem:
        raise RuntimeError(
            f"--cluster: no worker stays alive ({problem}); where Ray says that references were removed, this process and the "
            "cluster differ in token authentication: set RAY_AUTH_MODE alike on every machine"
        ) from None


class PictureWorker:
    """This worker restores picture files in a process of its own, with models that are opened once."""

    def __init__(self, args: argparse.Namespace, cores: int):
        self.work = open_on_worker(args, cores)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list]:
        """Restore the one file of a batch, and return its number and its outcome as JSON."""
        (number,), (job,) = batch["number"], batch["job"]
        try:
            outcome = attempted(restore_file, self.work, job)
        except Exception as problem:  # Ray Data would drop the file without a word
            outcome = Outcome(None, problem=message_of(problem))
        return {"number": [number], "outcome": [json.dumps(asdict(outcome))]}


def _with_whole_paths(job: Job) -> Job:
    """Return the job with absolute paths."""
    header = replace(job.header, path=job.header.path.absolute())
    return replace(job, header=header, targets=tuple(target.absolute() for target in job.targets))


def restored_on_cluster(args: argparse.Namespace, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
    """Restore pictures on the cluster that this process is connected to, and yield each job with its outcome, in the order in
    which they finish.

    Raises what opening the models raises, before any picture is restored.
    """
    if not jobs:
        return
    pool, options = find_pool(args.cluster, args.device), whole_paths(args)
    on_one_worker(_try_out, options, pool.cores, shared_files(options), pool=pool)
    missing = dict(enumerate(jobs))
    pieces = [{"number": number, "job": _with_whole_paths(job)} for number, job in missing.items()]
    for row in worked(PictureWorker, pieces, options, pool):
        yield missing.pop(row["number"]), Outcome(**json.loads(row["outcome"]))
    for job in missing.values():
        problem = f"{job.header.path}: the worker that restored it died {ROUNDS * TRIES} times, perhaps for want of memory"
        yield job, Outcome(None, problem=f"{problem}; restore it alone, or with a smaller --tile")
