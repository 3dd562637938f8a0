"""The benchmark of steering, with reduced random-weight files in a real server."""

import json

import benchmark_package
import pytest

from benchmarks import steering


@pytest.fixture
def checkpoint(server):
    """A reduced SD 1.5 of random weights where the server looks for it."""
    folder = server.base / "models"
    steering.in_comfyui(benchmark_package.ROOT / "scripts" / "random_models.py", str(folder), "small")
    files = {file for file in folder.rglob("*") if file.is_file()}
    yield folder / "checkpoints" / steering.CHECKPOINT
    for file in files & {file for name in ("checkpoints", "controlnet", "upscale_models") for file in (folder / name).iterdir()}:
        file.unlink()


def test_steering_is_timed_in_a_server_and_beside_comfyuis_guider(server, checkpoint):
    found = steering.run_workflow(server)
    assert found["size"] == (steering.SIDE, steering.SIDE) and found["seconds"] > 0 and found["GB at most"] > 0.1
    script = benchmark_package.ROOT / "benchmarks" / "guiders.py"
    printed = steering.in_comfyui(script, str(benchmark_package.ROOT), str(checkpoint), "64", "2")
    costs = json.loads(printed.splitlines()[-1])
    assert costs["pairs"] == 2 and costs["steps"] == 6
    per_step = costs["processor seconds per step, least"]
    assert set(per_step) == {"CFGGuider", "Quality Guider"} and min(per_step.values()) > 0
    assert costs["overhead, processor, of the least"] == pytest.approx(
        per_step["Quality Guider"] / per_step["CFGGuider"] - 1, abs=0.02
    )
