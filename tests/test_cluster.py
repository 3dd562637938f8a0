"""``adaqual restore --cluster`` on a real Ray cluster of two workers: the same files as on one machine, whatever dies on the way.

Ray comes with requirements-dev.txt: without it this file cannot be collected, which fails the suite.
"""

import contextlib
import importlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import benchmark_package  # noqa: F401  makes the benchmarks importable
import psutil
import pytest
import ray
import torch
from clips import write_clip
from ray.cluster_utils import Cluster
from small import assessor, picture, restorer

from adaqual_core import cli
from adaqual_core.cli import cluster as cluster_module
from adaqual_core.imageio import write_picture
from adaqual_core.weight_files import save_model
from benchmarks import cluster as benchmark

PICTURES = 9


AGENTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a cluster of two cores, without the token that Ray may have left in this user's home.

    Its agents get their ports from here: Ray gives up after 15 seconds where they choose themselves and the machine is busy.
    """
    with contextlib.ExitStack() as taken:
        sockets = [taken.enter_context(socket.socket()) for _ in AGENTS]
        for one in sockets:
            one.bind(("", 0))
        ports = {name: one.getsockname()[1] for name, one in zip(AGENTS, sockets, strict=True)}
    small = {"num_cpus": 2, "object_store_memory": 80 * 2**20, "include_dashboard": False, "include_log_monitor": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        found = Cluster(initialize_head=True, head_node_args=small | ports)
        yield found.address
        found.shutdown()


@pytest.fixture(scope="module")
def shelf(tmp_path_factory) -> Path:
    """A folder with small models, a folder of pictures of which one is cut off, and what one machine makes of them."""
    folder = tmp_path_factory.mktemp("shelf")
    save_model(restorer(), folder / "model.safetensors", {})
    save_model(assessor(), folder / "assessor.safetensors", {})
    for number in range(PICTURES):
        write_picture(picture(150, 200, seed=number), folder / "in" / f"{number}.png")
    whole = (folder / "in" / "4.png").read_bytes()
    (folder / "in" / "4.png").write_bytes(whole[: len(whole) // 2])
    write_clip(folder / "in.mp4", 110, (16, 24), sound="aac")
    return folder


@pytest.fixture
def adaqual(shelf, capsys, monkeypatch) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Call the command line with the small models on one thread: status, stdout and stderr."""
    monkeypatch.chdir(shelf)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    models = ["--model", "model.safetensors", "--assessor", "assessor.safetensors", "--device", "cpu"]

    def call(*options: str) -> tuple[int, str, str]:
        status = cli.main(["restore", *models, *options])
        return status, *capsys.readouterr()

    yield call
    torch.set_num_threads(threads)


def busiest_worker() -> int | None:
    """The process of this machine's cluster that has worked longest on restoring; None where there is none yet."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if "MapWorker" in " ".join(process.cmdline()):
                found[process.pid] = process.cpu_times().user
    return max(found, key=found.get, default=None)


@contextlib.contextmanager
def killing(enough: Callable[[], bool]) -> Iterator[list[int]]:
    """Kill the busiest worker as soon as ``enough`` says that work has begun; the list then holds its process number."""
    killed: list[int] = []
    over = threading.Event()

    def wait() -> None:
        while not killed and not over.wait(0.02):
            if enough() and (found := busiest_worker()) is not None:
                os.kill(found, signal.SIGKILL)
                killed.append(found)

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def told(out: str) -> dict:
    """What the JSON object of a run says beside times and memory."""
    found = json.loads(out.strip().splitlines()[-1])
    for report in (found, *found["pictures"]):
        del report["seconds"]
    return {key: value for key, value in found.items() if key != "peak_rss_mb"}


def test_every_picture_is_there_once_and_equal_though_a_worker_is_killed(adaqual, address, shelf):
    for name in ("alone", "out"):
        (shelf / name).mkdir()
        (shelf / name / "7.png").write_bytes(b"there already")
    status, out, _ = adaqual("in", "alone", "--json", "--skip-existing")
    with killing(lambda: 3 <= len(list(shelf.glob("out/?.png"))) < PICTURES - 2) as killed:
        together = adaqual("in", "out", "--json", "--skip-existing", "--cluster", address)
    assert killed and together[0] == status == 1
    assert told(together[1]) == told(out) and told(out)["failed"] == ["4.png"] and told(out)["skipped"] == ["7.png"]
    assert files(shelf / "out") == files(shelf / "alone")
    assert sum(line.startswith("out/") for line in together[1].splitlines()) == PICTURES - 2
    errors = [line for line in together[2].splitlines() if line.startswith("adaqual: error: ")]
    assert len(errors) == 2 and "4.png: damaged or truncated" in errors[0] and "1 of 8 pictures failed: 4.png" in errors[1]


def test_a_clip_is_equal_though_a_worker_is_killed(adaqual, address, shelf):
    assert adaqual("in.mp4", "alone.mp4")[0] == 0
    with killing(lambda: any(shelf.glob(".out.mp4.parts/*.partial"))) as killed:
        status, out, _ = adaqual("in.mp4", "out.mp4", "--cluster", address, "--json")
    assert killed and status == 0 and json.loads(out.strip().splitlines()[-1])["frames"] == 110
    assert (shelf / "out.mp4").read_bytes() == (shelf / "alone.mp4").read_bytes()
    assert not (shelf / ".out.mp4.parts").exists()


def test_a_file_that_kills_every_worker_is_given_up_and_stops_no_other(address, monkeypatch):
    class Suicidal:
        def __init__(self, args, cores: int):
            pass

        def __call__(self, batch: dict) -> dict:
            if batch["number"][0] == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return {"number": batch["number"]}

    monkeypatch.setattr(cluster_module, "TRIES", 1)
    with cluster_module.connected(address):
        pool = cluster_module.Pool(2, 1, 0)
        rows = cluster_module.worked(Suicidal, [{"number": number} for number in range(4)], None, pool)
        assert sorted(row["number"] for row in rows) == [0, 2, 3]


def test_what_workers_cannot_do_is_said_before_work(adaqual, address, shelf, monkeypatch):
    for options, status, message in (
        (["--assessor", "model.safetensors"], 1, "model.safetensors"),
        (["--device", "cuda"], 2, "has no GPU; choose auto or cpu"),
        (["--device", "cpu:1"], 2, "leave the number out"),
        (["--cluster", f"ray://{address}"], 2, "does not work through Ray's client; run the command on a machine of the cluster"),
    ):
        found, out, err = adaqual("in", "never", "--cluster", address, *options)
        assert (found, out) == (status, "") and message in err.splitlines()[-1] and "internal error" not in err, err
    torch.set_num_threads(64)
    found, _, err = adaqual("in", "never", "--cluster", address)
    assert found == 2 and "the largest machine at" in err and "set OMP_NUM_THREADS=2" in err
    found, _, err = adaqual("in", "never", "--cluster", "127.0.0.1:1")
    assert found == 1 and "--cluster: 127.0.0.1:1: no Ray cluster answers" in err and "ray start --head" in err
    monkeypatch.setitem(sys.modules, "ray", None)
    found, _, err = adaqual("in", "never", "--cluster", address)
    assert found == 1 and err.endswith("install it with pip install 'adaqual[cluster]'\n")
    assert not (shelf / "never").exists() and not ray.is_initialized()


def test_what_a_worker_lacks_is_named(address, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("def answer():\n    return 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    only_here = importlib.import_module("only_here")
    with cluster_module.connected(address):
        pool = cluster_module.Pool(1, 1, 0)
        with pytest.raises(RuntimeError, match="no worker can start .*No module named 'only_here'.*install the same packages"):
            cluster_module.on_one_worker(only_here.answer, pool=pool)
        with pytest.raises(RuntimeError, match="/nowhere/model: is not there on the worker .*folder that every machine has"):
            cluster_module.on_one_worker(cluster_module.check_shared, [Path("/nowhere/model")], pool=pool)


def test_the_benchmark_measures_a_cluster(address, tmp_path, capsys):
    benchmark.make_pictures(tmp_path / "in", 3, 64)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    figures = benchmark.measure(address, tmp_path / "in", tmp_path / "out")
    torch.set_num_threads(threads)
    assert sorted(files(tmp_path / "out")) == ["000.png", "001.png", "002.png"]
    assert figures["start"] > 0 and figures["rate"] > 0 and figures["processor"] > 0 and figures["worker_mb"] > 100
    with pytest.raises(SystemExit, match="2"):
        benchmark.main(["--pictures", "1"])
    assert "--pictures: 1; give at least 2" in capsys.readouterr().err
