"""``python -m adaqual_training.ship FILE [FILE ...] TARGET`` stores a run's weights as float16 for the pack, and prints the
largest change. Of several files, where one run began with the weights of another, the mean is stored."""

import hashlib
import json
import sys
from collections.abc import Sequence
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


def ship(sources: Sequence[Path], target: Path) -> None:
    """Write the mean of the weights of ``sources`` to ``target`` in float16, and print its size and the largest change of a
    weight by that type. The header is that of the last source, and names all of them by their SHA-256."""
    with safe_open(sources[-1], "pt") as file:
        header = file.metadata()
    load, notes = LOADERS[header["adaqual"]], json.loads(header["notes"])
    models = [load(source) for source in sources]
    with torch.no_grad():
        for parameters in zip(*(model.parameters() for model in models), strict=True):
            parameters[0].copy_(torch.stack(parameters).mean(0))
    if len(sources) > 1:
        notes["mean_of"] = [hashlib.sha256(source.read_bytes()).hexdigest() for source in sources]
    save_model(models[0], target, notes, torch.float16)
    target.chmod(0o644)
    change = max(float((a - b).abs().max()) for a, b in zip(models[0].parameters(), load(target).parameters(), strict=True))
    print(f"{target}: {target.stat().st_size / 2**20:.2f} MiB, largest change of a weight {change:.1e}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python -m adaqual_training.ship FILE [FILE ...] TARGET")
    ship([Path(name) for name in sys.argv[1:-1]], Path(sys.argv[-1]))
