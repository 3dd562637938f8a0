"""``python -m benchmarks.cluster`` measures pictures per second on Ray clusters of one-core workers on this machine.

Every picture is the shipped example photo, damaged and cut to a square. One JSON line is printed for each number of workers:
``start`` in seconds from the call to the first restored picture; ``rate`` in pictures per second from the first one to the last;
``processor`` in seconds that the workers computed for a picture, opening of the models included; ``worker_mb``: most memory of a
worker, in MiB.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import torch
from ray.cluster_utils import Cluster

from adaqual_core.cli.cluster import connected, restored_on_cluster
from adaqual_core.cli.jobs import plan_restore
from adaqual_core.cli.parser import parse
from adaqual_core.damage import degrade
from adaqual_core.imageio import read_picture, write_picture

PHOTO = Path(__file__).resolve().parents[1] / "pictures" / "example_clean.png"


def make_pictures(folder: Path, count: int, side: int) -> None:
    """Write ``count`` squares of ``side`` px, damaged by haze and noise, each by another seed."""
    photo = read_picture(PHOTO)[0, :3, :side, :side]
    for number in range(count):
        write_picture(degrade(photo, ("haze", "noise"), 0.5, seed=number).picture[None], folder / f"{number:03d}.png")


def workers_seconds() -> float:
    """Return the processor seconds of all worker processes below this one."""
    found = [process for process in psutil.Process().children(recursive=True) if "MapWorker" in " ".join(process.cmdline())]
    return sum(process.cpu_times().user + process.cpu_times().system for process in found)


def measure(address: str, source: Path, target: Path) -> dict[str, float]:
    """Restore the folder ``source`` on the cluster at ``address``, and return the figures that the module's text names.

    The cluster's worker processes must run below this process. Raises RuntimeError where a picture cannot be restored.
    """
    args = parse(["restore", str(source), str(target), "--device", "cpu", "--cluster", address])
    began, times, peaks, computed = time.perf_counter(), [], [], 0.0
    with connected(address):
        for _, outcome in restored_on_cluster(args, plan_restore(source, target, False, False).jobs):
            if outcome.report is None:
                raise RuntimeError(outcome.problem)
            times.append(time.perf_counter())
            peaks.append(outcome.peak_rss_mb or 0.0)
            computed = max(computed, workers_seconds())
    return {
        "start": round(times[0] - began, 1),
        "rate": round((len(times) - 1) / (times[-1] - times[0]), 3),
        "processor": round(computed / len(times), 2),
        "worker_mb": max(peaks),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure with each number of workers, and print a JSON line for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of workers (default 1 2)")
    parser.add_argument("--pictures", type=int, default=24, help="pictures to restore, at least 2 (default 24)")
    parser.add_argument("--side", type=int, default=512, help="px of a side, at most 512 (default 512)")
    args = parser.parse_args(argv)
    if args.pictures < 2:
        parser.error(f"--pictures: {args.pictures}; give at least 2, because the rate is that from the first to the last")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        make_pictures(Path(folder) / "in", args.pictures, args.side)
        for workers in args.workers:
            cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": workers, "include_dashboard": False})
            figures = measure(cluster.address, Path(folder) / "in", Path(folder) / f"out{workers}")
            cluster.shutdown()
            print(json.dumps({"workers": workers} | figures), flush=True)


if __name__ == "__main__":
    main()
