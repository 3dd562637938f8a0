"""Training runs: schedule, exact resume, several processes, the header of the weights."""

import json
import math
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from adaqual_training.__main__ import TASKS
from adaqual_training.assessor import AssessorTask
from adaqual_training.recipe import read_recipe
from adaqual_training.run import Run, rate_at

ROOT = Path(__file__).parents[2]
RECIPES = Path(__file__).parent / "recipes"


def trained(network: str, corpus: Path, folder: Path, *calls: int) -> dict[str, torch.Tensor]:
    """The newest average after ``calls`` of so many updates each, every call a run of its own."""
    recipe = read_recipe(RECIPES / f"{network}.toml")
    for updates in calls:
        torch.manual_seed(updates)  # whatever went before must not matter
        Run(recipe, TASKS[network](recipe, corpus), corpus, folder, "cpu").train(updates=updates)
    return load_file(folder / f"{network}.safetensors")


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory) -> dict[str, Path]:
    """The folder of a run of six updates for each network; other runs are compared with it."""
    folders = {network: tmp_path_factory.mktemp(network) for network in TASKS}
    for network, folder in folders.items():
        trained(network, corpus, folder, 6)
    return folders


@pytest.mark.parametrize("network", ["assessor", "restorer"])
def test_a_resumed_run_gives_bit_equal_weights(network, whole, corpus, tmp_path):
    once, parts = load_file(whole[network] / f"{network}.safetensors"), trained(network, corpus, tmp_path, 2, 4)
    assert once.keys() == parts.keys()
    assert all(torch.equal(once[key], parts[key]) for key in once)


def test_a_killed_run_resumes_from_its_last_state(whole, corpus, tmp_path):
    recipe_path = RECIPES / "assessor.toml"
    code = f"""
import os
from pathlib import Path
from adaqual_training import run
from adaqual_training.assessor import AssessorTask
from adaqual_training.recipe import read_recipe

step = run.Run._step

def killed(self, batch):
    if self.update == 5:
        os._exit(9)
    return step(self, batch)

if __name__ == "__main__":
    run.Run._step = killed
    recipe, corpus = read_recipe(Path({str(recipe_path)!r})), Path({str(corpus)!r})
    run.Run(recipe, AssessorTask(recipe, corpus), corpus, Path({str(tmp_path / "run")!r}), "cpu").train()
"""
    script = tmp_path / "killed.py"
    script.write_text(code)
    assert subprocess.run([sys.executable, str(script)], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}).returncode == 9
    done = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])["update"]
    assert done == 3  # the last evaluation before it was killed
    resumed = trained("assessor", corpus, tmp_path / "run", 6 - done)
    once = load_file(whole["assessor"] / "assessor.safetensors")
    assert all(torch.equal(once[key], resumed[key]) for key in once)


@pytest.mark.parametrize("network", ["assessor", "restorer"])
def test_two_processes_give_the_updates_of_one(network, whole, corpus, tmp_path):
    shutil.copytree(whole[network] / "pool", tmp_path / "pool")  # the scenes need not be made again
    launch = "torch.distributed.run --standalone --nproc-per-node 2 -m adaqual_training --updates 6 --device cpu"
    command = [
        *(sys.executable, "-m", *launch.split(), "--recipe", str(RECIPES / f"{network}.toml")),
        *("--corpus", str(corpus), "--out", str(tmp_path)),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    one, two = (load_file(folder / f"{network}.safetensors") for folder in (whole[network], tmp_path))
    moved = max(float((one[key] - value).abs().max()) for key, value in two.items())
    assert moved < 2e-4  # float32 sums in another order, through Adam's division by small numbers


@pytest.mark.parametrize("network", ["assessor", "restorer"])
def test_a_recipe_of_200_updates_runs_to_its_end_and_learns(network, corpus, tmp_path):
    path = tmp_path / f"{network}.toml"
    path.write_text((RECIPES / f"{network}.toml").read_text().replace("evaluate_every = 3", "evaluate_every = 50"))
    recipe = read_recipe(path)
    Run(recipe, TASKS[network](recipe, corpus), corpus, tmp_path, "cpu").train()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == [50, 100, 150, 200]
    assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]
    assert (tmp_path / f"{network}.best.safetensors").is_file() and (tmp_path / "worst.png").is_file()


def test_the_log_gives_mean_losses_after_a_stop_too(corpus, tmp_path):
    trained("assessor", corpus, tmp_path, 5, 1)
    first, second, last = (json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines())
    assert 0.5 < second / first < 2 and 0.5 < last / first < 2


def test_the_header_says_how_the_weights_were_made(whole):
    with safe_open(whole["assessor"] / "assessor.safetensors", "pt") as file:
        notes = json.loads(file.metadata()["notes"])
    assert notes["updates"] == 6 and notes["corpus_sha256"] == "0" * 64
    assert notes["recipe"] == (RECIPES / "assessor.toml").read_text() and notes["versions"]["torch"] == version("torch")
    assert not math.isnan(notes["held_out"]["correlation"])


def test_the_rate_rises_and_falls_to_zero_along_one_cosine():
    rates = [rate_at(update, 10, 110) for update in range(111)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[10] == 1
    assert rates[60] == pytest.approx(0.5) and rates[110] == pytest.approx(0, abs=1e-12)
    assert all(a >= b for a, b in zip(rates[10:-1], rates[11:], strict=True))


@pytest.mark.parametrize(
    "change, message",
    [
        (("rate = 1e-3", ""), "rate is missing"),
        (("rate = 1e-3", "rate = 1e-3\nspeed = 2"), "speed is unknown"),
        (('network = "assessor"', 'network = "painter"'), "choose assessor or restorer"),
        (("crop = 64", "crop = 60"), "multiples of 16"),
        (("warmup = 2", "warmup = 200"), "fewer than updates"),
    ],
)
def test_a_faulty_recipe_is_refused(change, message, tmp_path):
    text = (RECIPES / "assessor.toml").read_text()
    assert change[0] in text
    path = tmp_path / "faulty.toml"
    path.write_text(text.replace(*change))
    with pytest.raises(ValueError, match=message):
        read_recipe(path)


def test_a_run_begins_with_given_weights_and_says_so(corpus, whole, tmp_path):
    recipe, start = read_recipe(RECIPES / "assessor.toml"), whole["assessor"] / "assessor.safetensors"
    weights = {name: value for name, value in load_file(start).items() if ".whole." not in name}
    save_file(weights, tmp_path / "earlier.safetensors")
    run = Run(recipe, AssessorTask(recipe, corpus), corpus, tmp_path / "run", "cpu", tmp_path / "earlier.safetensors")
    begun = run.task.network.state_dict()
    assert all(torch.equal(begun[name], value) for name, value in weights.items())
    run.train(updates=1)
    resumed = Run(recipe, AssessorTask(recipe, corpus), corpus, tmp_path / "run", "cpu")
    notes = resumed.notes("", {})
    assert notes["start_sha256"] == sha256((tmp_path / "earlier.safetensors").read_bytes()).hexdigest()
    assert notes["start_lacks"] and all(".whole." in name for name in notes["start_lacks"])
    save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors")
    for odd, word in (("other.safetensors", "does not fit"), ("none.safetensors", "no file")):
        with pytest.raises(ValueError, match=word):
            Run(recipe, AssessorTask(recipe, corpus), corpus, tmp_path / "new", "cpu", tmp_path / odd)
