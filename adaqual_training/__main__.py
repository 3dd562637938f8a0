"""This module is ``adaqual train --recipe FILE``: it trains the network of a recipe.

A run is resumed from its folder, and a file named ``stop`` in that folder ends it cleanly. ``accelerate launch -m
adaqual_training`` or torchrun runs the same recipe in several processes, on one machine or many.
"""

import argparse
from pathlib import Path

from .assessor import AssessorTask
from .recipe import read_recipe
from .restorer import RestorerTask
from .run import Run, describe

TASKS = {"assessor": AssessorTask, "restorer": RestorerTask}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``adaqual train``."""
    parser.add_argument("--recipe", type=Path, required=True, help="TOML file that holds every number of the training (recipes/)")
    parser.add_argument(
        "--corpus", type=Path, default=Path("runs/corpus"), help="folder made by python -m adaqual_training.corpus"
    )
    parser.add_argument("--out", type=Path, help="folder of state, weights and log (default runs/ and the recipe's name)")
    parser.add_argument(
        "--start",
        type=Path,
        help="weights of the same network (.safetensors) with which a new run begins; ignored when resumed",
    )
    parser.add_argument("--hours", type=float, help="stop after this many hours; the next call goes on")
    parser.add_argument("--updates", type=int, help="stop after this many updates; the next call goes on")
    parser.add_argument("--device", help="cpu or cuda (default: an accelerator where there is one)")


def run(args: argparse.Namespace) -> None:
    """Train what the recipe names."""
    recipe = read_recipe(args.recipe)
    task = TASKS[recipe.network](recipe, args.corpus)
    run = Run(recipe, task, args.corpus, args.out or Path("runs") / args.recipe.stem, args.device, args.start)
    describe(recipe, run)
    run.train(hours=args.hours, updates=args.updates)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m adaqual_training", description=__doc__)
    add_arguments(parser)
    run(parser.parse_args())
