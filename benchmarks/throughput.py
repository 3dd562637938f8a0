"""``python -m benchmarks.throughput --recipe FILE`` measures a training run's samples per second, beside the network alone.

The run is a real one in a temporary folder: shards are made in the background while the network trains. The network alone trains
on the same thirty batches again and again.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from adaqual_training.__main__ import TASKS
from adaqual_training.pool import Pool
from adaqual_training.recipe import read_recipe
from adaqual_training.run import Run

MADE = 30
"""Number of batches made beforehand. The share of them that trains the sampler's second step is about that of a run."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, default=Path("runs/corpus"))
    parser.add_argument("--updates", type=int, default=150, help="updates that are timed, after as many to warm up (default 150)")
    parser.add_argument("--device")
    args = parser.parse_args(argv)
    recipe = read_recipe(args.recipe)
    task = TASKS[recipe.network](recipe, args.corpus)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(recipe, task, args.corpus, Path(folder), args.device)
        pool = Pool(
            Path(folder) / "pool", args.corpus, recipe.scenes, recipe.pool, recipe.schedule.seed, assessor=recipe.assessor
        )

        def rate(updates: int, batch: Callable[[int], dict]) -> float:
            """Return samples per second. As in a run, the next batch is made while the network trains."""
            start = time.perf_counter()
            with ThreadPoolExecutor(1) as thread:
                following = thread.submit(batch, run.update)
                for _ in range(updates):
                    now, following = following.result(), thread.submit(batch, run.update + 1)
                    run._step(now)
            return updates * recipe.schedule.batch / (time.perf_counter() - start)

        with pool:
            rate(args.updates, lambda update: run._batch(pool, update))
            whole = rate(args.updates, lambda update: run._batch(pool, update))
            fixed = [run._batch(pool, update) for update in range(MADE)]
        alone = rate(args.updates, lambda update: fixed[update % MADE])
    print(json.dumps({"with_data": round(whole, 1), "network_alone": round(alone, 1), "data_costs": round(1 - whole / alone, 3)}))


if __name__ == "__main__":
    main()
