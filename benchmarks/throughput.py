"""``python -m benchmarks.throughput --recipe FILE``: samples per second of a training run with its data, beside the network alone.

The run is a real one in a temporary folder: shards are made in the background while the network trains. The network alone trains on the
same batch again and again.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from adaqual_training.__main__ import TASKS
from adaqual_training.pool import Pool
from adaqual_training.recipe import read_recipe
from adaqual_training.run import Run


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, default=Path("runs/corpus"))
    parser.add_argument("--updates", type=int, default=150, help="updates that are timed, after as many to warm up (default 150)")
    parser.add_argument("--device")
    args = parser.parse_args()
    recipe = read_recipe(args.recipe)
    task = TASKS[recipe.network](recipe, args.corpus)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(recipe, task, args.corpus, Path(folder), args.device)
        pool = Pool(Path(folder) / "pool", args.corpus, recipe.scenes, recipe.pool, recipe.schedule.seed, assessor=recipe.assessor)

        def rate(updates: int) -> float:
            start = time.perf_counter()
            for _ in range(updates):
                run._step(pool)
            return updates * recipe.schedule.batch / (time.perf_counter() - start)

        with pool:
            rate(args.updates)
            whole = rate(args.updates)
            fixed = task.batch(*pool.batch(0, recipe.schedule.batch), 0)
        task.batch = lambda scenes, numbers, update: fixed
        pool.batch = lambda first, count: ({}, [])
        alone = rate(args.updates)
    print(json.dumps({"with_data": round(whole, 1), "network_alone": round(alone, 1), "data_costs": round(1 - whole / alone, 3)}))


if __name__ == "__main__":
    main()
