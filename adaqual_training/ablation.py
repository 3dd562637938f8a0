"""``python -m adaqual_training.ablation`` measures what each part of the restorer is worth, at an equal number of updates.

Every variant is trained from the same seed on the same scenes, with the recipe's schedule shortened to ``--updates`` (its cosine
reaches zero there), and measured on the held-out pictures at two steps, with the true maps and with those of the recipe's
assessor.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import torch
import torch.nn as nn
from torch import Tensor

from adaqual_core.networks.restorer import Restorer

from .bodies import coarse, gated
from .held_out import GROUPS, Case
from .measure_restorer import measure
from .recipe import Recipe, read_recipe
from .restorer import RestorerTask
from .run import Run


class NoGrid(nn.Module):
    """This network takes the place of the bilateral grid and changes nothing."""

    def __init__(self, levels: int):
        super().__init__()
        self.levels = levels
        self.place = nn.Parameter(torch.zeros(()), requires_grad=False)  # tells the sampler the device and type to compute in

    def forward(self, view: Tensor) -> Tensor:
        return self.place.expand(len(view), 12, self.levels, 16, 16)


@dataclass(frozen=True)
class Variant:
    """This class is one row of the table. ``loss`` holds fields of the loss settings that differ from the recipe's, and
    ``change`` alters the new network.
    """

    loss: dict
    change: Callable[[Restorer], None] = lambda network: None


def _without_grid(network: Restorer) -> None:
    """Replace the bilateral grid of a new network by one that changes nothing."""
    network.grid = NoGrid(network.config.grid_levels)


def _with_body(make: Callable) -> Callable[[Restorer], None]:
    """Return a function that gives a new network the denoiser of ``make``, whose first output is zero."""

    def change(network: Restorer) -> None:
        torch.manual_seed(0)
        network.denoiser = make(network.config)
        nn.init.zeros_(network.denoiser.ending.weight)
        nn.init.zeros_(network.denoiser.ending.bias)

    return change


VARIANTS = {
    "all": Variant({}),
    "told one severity": Variant({"told": "severity"}),
    "told nothing": Variant({"told": "nothing"}),
    "told true maps alone": Variant({"estimated": 0.0}),
    "without grid": Variant({}, _without_grid),
    "body: gated 4x4": Variant({}, _with_body(gated)),
    "body: plain 4x4": Variant({}, _with_body(coarse)),
    "one step only": Variant({"second": 0.0}),
    "exponent 1": Variant({"exponent": 1.0}),
    "without harm": Variant({"harm": 0.0}),
}


STEPPED = ("all", "one step only")
"""Names of the variants that are also measured at one and four steps."""


def shortened(recipe: Recipe, updates: int, loss: dict) -> Recipe:
    """Return the recipe with its schedule cut to ``updates`` and with these changes of the loss."""
    schedule = replace(
        recipe.schedule, updates=updates, warmup=min(recipe.schedule.warmup, updates // 10), average=0.995, evaluate_every=updates
    )
    return replace(recipe, schedule=schedule, loss=recipe.loss | loss)


def with_true_map(case: Case) -> Case:
    """Return a held-out case without the assessor's estimates, so that it is measured with its true map."""
    return replace(case, scene={name: tensor for name, tensor in case.scene.items() if name != "estimated"})


def main(argv: Sequence[str] | None = None) -> None:
    """Train and measure the variants that are named, and print a table; each row is also written to table.jsonl."""
    parser = argparse.ArgumentParser(prog="python -m adaqual_training.ablation", description=__doc__)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/nano.toml"))
    parser.add_argument("--corpus", type=Path, default=Path("runs/corpus"))
    parser.add_argument("--run", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--updates", type=int, default=1200)
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), help="variants to train")
    parser.add_argument("--device")
    args = parser.parse_args(argv)
    for name in args.only:
        variant = VARIANTS[name]
        recipe = shortened(read_recipe(args.recipe), args.updates, variant.loss)
        task = RestorerTask(recipe, args.corpus)
        variant.change(task.network)
        run = Run(recipe, task, args.corpus, args.run / name.replace(" ", "-").replace(":", ""), args.device)
        run.train()
        maps = {"true": [with_true_map(case) for case in task.cases]}
        if recipe.assessor is not None:
            maps["estimated"] = task.cases
        for (kind, cases), steps in product(maps.items(), (1, 2, 4) if name in STEPPED else (2,)):
            found = measure(run.average.module, cases, task.loss.told, steps).values
            row = {"variant": name, "updates": run.update, "hours": round(run.hours, 3), "steps": steps, "maps": kind, **found}
            with (args.run / "table.jsonl").open("a") as table:
                table.write(json.dumps(row) + "\n")
            print(" | ".join([name, kind, str(steps), *(f"{group} {found[group]:+.2f}" for group in GROUPS)]), flush=True)


if __name__ == "__main__":
    main()
