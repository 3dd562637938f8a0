"""``python -m benchmarks.killed [--kills 50] [--seed 0]`` kills ``adaqual restore`` at random moments.

A folder of six pictures is restored over the results of an earlier run with another seed of the noise, and killed (SIGKILL) at a
moment drawn from the seconds that the whole run takes. After every kill each output must be, byte by byte, the earlier or the new
result, the inputs must be unchanged, and nothing else may lie in the folders. Prints one JSON object; the status is 1 if any of
this fails.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from adaqual_core.pictures.writing import write_still

ROOT = Path(__file__).resolve().parents[1]

PICTURES, HEIGHT, WIDTH = 6, 400, 500
"""How many pictures are restored, and their size in px."""


def command(source: Path, target: Path, seed: int) -> list[str]:
    """Return the command line that restores a folder."""
    options = ["--seed", str(seed), "--steps", "1", "--preserve", "5", "--device", "cpu"]
    return [sys.executable, "-m", "adaqual_core", "restore", str(source), str(target), *options]


def started(*arguments) -> subprocess.Popen:
    """Start the command line as a process of this checkout, without output."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command(*arguments), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder by name, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def main(argv: list[str] | None = None) -> int:
    """Run the kills, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.killed", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    draw, rng = random.Random(args.seed), np.random.default_rng(args.seed)
    counts = {
        "kills": 0,
        "killed before the end": 0,
        "outputs replaced": 0,
        "half files": 0,
        "other files": 0,
        "inputs changed": 0,
    }
    with tempfile.TemporaryDirectory() as place:
        source, target, results = (Path(place) / name for name in ("in", "out", "results"))
        source.mkdir()
        for number in range(PICTURES):
            write_still(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), source / f"{number}.png")
        originals, versions = contents(source), []
        for seed in (0, 1):
            start = time.monotonic()
            if started(source, results / str(seed), seed).wait():
                raise RuntimeError("adaqual restore failed; run it on a folder of pictures to see why")
            seconds = time.monotonic() - start
            versions.append(contents(results / str(seed)))
        target.mkdir()
        for kill in range(args.kills):
            before = versions[kill % 2]
            for name, data in before.items():
                (target / name).write_bytes(data)
            process = started(source, target, 1 - kill % 2)
            time.sleep(draw.uniform(0, seconds))
            counts["killed before the end"] += process.poll() is None
            process.kill()
            process.wait()
            found = contents(target)
            counts["kills"] += 1
            counts["outputs replaced"] += sum(found.get(name) == data for name, data in versions[1 - kill % 2].items())
            counts["half files"] += sum(found.get(name) not in (versions[0][name], versions[1][name]) for name in before)
            counts["other files"] += len(found.keys() - before.keys())
            counts["inputs changed"] += contents(source) != originals
            for name in found.keys() - before.keys():
                (target / name).unlink()
    print(json.dumps(counts | {"seconds of a whole run": round(seconds, 1)}))
    return int(any(counts[name] for name in ("half files", "other files", "inputs changed")))


if __name__ == "__main__":
    sys.exit(main())
