"""``python -m benchmarks.cluster_deaths``: a machine of a Ray cluster dies, a command is interrupted, and pictures are restored.

A cluster of two nodes of one core each runs on this machine, as processes of their own. The command line works on it as one more
process, in another folder than the nodes and with relative paths. First the second node is killed as soon as two pictures are
there: all pictures must be there in the end, byte by byte those of one machine, none written twice. Then the command is stopped
as Ctrl-C does: what is there must be whole, nothing else may lie beside it, and all workers must end. Prints one JSON object; the
status is 1 if any of this fails.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from ray.cluster_utils import Cluster

from .cluster import make_pictures

ROOT = Path(__file__).resolve().parents[1]
PICTURES, SIDE = 16, 192
AGENTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


def node() -> dict[str, Any]:
    """Return the arguments of a node of one core, with the ports of its agents, because choosing them takes Ray longer."""
    with contextlib.ExitStack() as taken:
        sockets = [taken.enter_context(socket.socket()) for _ in AGENTS]
        for one in sockets:
            one.bind(("", 0))
        ports = {name: one.getsockname()[1] for name, one in zip(AGENTS, sockets, strict=True)}
    return ports | {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False, "include_log_monitor": False}


def started(folder: Path, output: str, address: str | None) -> subprocess.Popen:
    """Start the command line as a process that restores ``in`` into ``output``, both below ``folder``."""
    cluster = [] if address is None else ["--cluster", address]
    command = [sys.executable, "-m", "adaqual_core", "restore", "in", output, "--device", "cpu", *cluster]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which processes in the background ignore
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file of a folder by its name, hidden ones too; nothing if there is no folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


def workers() -> int:
    """Return the number of this machine's processes that restore for a cluster."""
    return sum("MapWorker" in " ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))


def wait_for_pictures(process: subprocess.Popen, folder: Path, count: int) -> None:
    """Wait until a running command has written ``count`` files into ``folder``."""
    while len(contents(folder)) < count and process.poll() is None:
        time.sleep(0.05)


def machine_dies(cluster: Cluster, folder: Path, whole: dict[str, bytes]) -> dict[str, bool]:
    """Restore while a node is killed; return what was tried and whether it held."""
    second = cluster.add_node(**node())
    process = started(folder, "survived", cluster.address)
    wait_for_pictures(process, folder / "survived", 2)
    running = process.poll() is None
    cluster.remove_node(second, allow_graceful=False)
    said = [line for line in process.communicate()[0].splitlines() if line.startswith("survived/")]
    return {
        "killed while it ran": running,
        "all pictures there and equal": process.returncode == 0 and contents(folder / "survived") == whole,
        "none twice": len(said) == len(set(said)) == PICTURES,
    }


def interrupted(cluster: Cluster, folder: Path, whole: dict[str, bytes]) -> dict[str, bool]:
    """Interrupt the command; return what was tried and whether it held."""
    process = started(folder, "stopped", cluster.address)
    wait_for_pictures(process, folder / "stopped", 2)
    process.send_signal(signal.SIGINT)
    process.communicate()
    end = time.monotonic() + 60
    while workers() and time.monotonic() < end:
        time.sleep(0.1)
    left = contents(folder / "stopped")
    return {
        "interrupted while it ran": process.returncode == 130 and len(left) < PICTURES,
        "only whole files": left.items() <= whole.items(),
        "no worker left": workers() == 0,
    }


def main() -> int:
    """Run both, print what held, and return the exit status."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "in").mkdir()
        make_pictures(folder / "in", PICTURES, SIDE)
        started(folder, "whole", None).communicate()
        whole = contents(folder / "whole")
        cluster = Cluster(initialize_head=True, head_node_args=node())
        try:
            found = machine_dies(cluster, folder, whole) | interrupted(cluster, folder, whole)
        finally:
            cluster.shutdown()
    print(json.dumps(found))
    return int(not all(found.values()))


if __name__ == "__main__":
    sys.exit(main())
