"""``python -m adaqual_training.ship FILE TARGET`` stores a run's weights as float16 for the pack, and prints the largest
change."""

import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open

from adaqual_core.networks.registry import FAMILIES
from adaqual_core.quality.bundled import load_assessor
from adaqual_core.weight_files import save_model

LOADERS = {
    "estimator": load_assessor,
    **{family.name: family.load for family in FAMILIES if family.load is not None},
}


def ship(source: Path, target: Path) -> None:
    """Write ``source`` to ``target`` in float16 and print its size and the largest change of a weight."""
    with safe_open(source, "pt") as file:
        header = file.metadata()
    load = LOADERS[header["adaqual"]]
    model = load(source)
    save_model(model, target, json.loads(header["notes"]), torch.float16)
    target.chmod(0o644)
    change = max(float((a - b).abs().max()) for a, b in zip(model.parameters(), load(target).parameters(), strict=True))
    print(f"{target}: {target.stat().st_size / 2**20:.2f} MiB, largest change of a weight {change:.1e}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m adaqual_training.ship FILE TARGET")
    ship(Path(sys.argv[1]), Path(sys.argv[2]))
