"""``python -m benchmarks.deqa_full_size`` measures DeQA-Score at its published size with random weights, on this machine's CPU.

It writes shards (16.4 GB in float16 with all 32 layers; they are deleted at the end), then measures in a process of its own: the
greatest memory of loading and scoring beside the size of the weights, and the seconds for one tile of 448². With ``--tiles 16``
it compares that many tiles at once with as many single scores instead, with the weights resident in float32 and with them
streamed; fewer ``--layers`` are enough for that.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from adaqual_core.quality.deqa.config import parse_config
from adaqual_core.quality.deqa.network import DeqaNet
from adaqual_core.quality.deqa.scorer import load_deqa
from adaqual_core.quality.deqa.shards import save_shards

PUBLISHED = {
    "model_type": "mplug_owl2",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "rms_norm_eps": 1e-5,
    "vocab_size": 32000,
    "visual_config": {
        "visual_model": {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 448,
            "patch_size": 14,
        },
        "visual_abstractor": {
            "num_learnable_queries": 64,
            "hidden_size": 1024,
            "intermediate_size": 2816,
            "num_hidden_layers": 6,
            "num_attention_heads": 16,
        },
    },
}


def configuration(layers: int) -> dict:
    """Return the published sizes with ``layers`` of the 32 language layers, and the same share of the vision tower's layers."""
    config = json.loads(json.dumps(PUBLISHED))
    config["num_hidden_layers"] = layers
    config["visual_config"]["visual_model"]["num_hidden_layers"] = max(1, 24 * layers // 32)
    return config


def weights(config: dict) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor in float16, one at a time, cut from one block of random numbers, which is as fast as copying memory."""
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in DeqaNet(parse_config(config, "benchmark")).state_dict().items()}
    block = (0.02 * torch.randn(2**24 + 7, generator=torch.Generator().manual_seed(0))).half()
    for number, (key, shape) in enumerate(shapes.items()):
        values = torch.empty(shape, dtype=torch.float16)
        start = 7919 * number % block.numel()
        for part in values.flatten().split(block.numel() - start):
            part.copy_(block[start : start + part.numel()])
        yield key, values.add_(1) if len(shape) == 1 and key.endswith("weight") else values


def status(name: str) -> int:
    """Return the bytes of an entry of this process's memory (Linux)."""
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1]) * 1024


def measure(folder: Path) -> dict:
    """Load the model and score one tile twice. Return the seconds, and the greatest memory beside that of the imports."""
    before, start = status("VmRSS"), time.perf_counter()
    scorer = load_deqa(folder)
    loaded = time.perf_counter() - start
    held = sum(value.nbytes for value in scorer.net.state_dict().values())
    found = {
        "weights_gb": round(held / 1e9, 2),
        "offloaded": scorer.offloaded,
        "load_seconds": round(loaded, 1),
        "load_peak_by_weights": round((status("VmHWM") - before) / held, 3),
    }
    picture = torch.randn(3, scorer.size, scorer.size, generator=torch.Generator().manual_seed(0))
    for name in ("first_tile_seconds", "next_tile_seconds"):
        start = time.perf_counter()
        scorer.score(1, lambda i: picture)
        found[name] = round(time.perf_counter() - start, 1)
        found["peak_by_weights"] = round((status("VmHWM") - before) / held, 3)
        print(f"{name}: {found[name]}, {time.process_time():.0f} s of processor time since the start", flush=True)
    return found


def compare(folder: Path, tiles: int, offload: bool) -> dict:
    """Return the seconds for ``tiles`` tiles at once and for as many single scores, of which one half runs before and one half
    after.

    Of each pair of numbers the second is the processor's time, which other work on the machine changes less.
    """
    scorer = load_deqa(folder, offload=offload)
    pictures = torch.randn(tiles, 3, scorer.size, scorer.size, generator=torch.Generator().manual_seed(0))

    def score(*numbers: int) -> tuple[Tensor, Tensor]:
        start = torch.tensor([time.perf_counter(), time.process_time()], dtype=torch.float64)
        found = scorer.score(len(numbers), lambda i: pictures[numbers[i]])
        return found, torch.tensor([time.perf_counter(), time.process_time()], dtype=torch.float64) - start

    score(0)  # the prefix is computed once, for both
    first = [score(number) for number in range(tiles // 2)]
    batched, together = score(*range(tiles))
    single = first + [score(number) for number in range(tiles // 2, tiles)]
    seconds = torch.stack([taken for _, taken in single]).sum(0)
    return {
        "tiles": tiles,
        "offloaded": offload,
        "single_seconds": [round(float(value), 1) for value in seconds],
        "batched_seconds": [round(float(value), 1) for value in together],
        "batched_by_single": [round(float(value), 3) for value in together / seconds],
        "largest_difference": float((batched - torch.cat([found for found, _ in single])).abs().max()),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Write the shards, measure, and delete them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deqa_full_size", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/deqa_full_size"), help="place for the shards")
    parser.add_argument("--layers", type=int, default=32, help="language layers, 1 to 32 (default 32, the published size)")
    parser.add_argument("--tiles", type=int, default=0, help="compare so many tiles at once with single scores")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.measure:
        runs = [partial(compare, args.folder, args.tiles, way) for way in (False, True)]
        for run in runs if args.tiles else [partial(measure, args.folder)]:
            print(json.dumps(run()), flush=True)
        return
    if args.folder.exists():
        sys.exit(f"{args.folder}: exists already; give a folder that may be written and deleted")
    args.folder.mkdir(parents=True)
    try:
        start = time.perf_counter()
        save_shards(args.folder, configuration(args.layers), weights(configuration(args.layers)), 5 * 10**8)
        size = sum(file.stat().st_size for file in args.folder.iterdir())
        print(f"{size / 1e9:.2f} GB of shards written in {time.perf_counter() - start:.0f} s", flush=True)
        command = [sys.executable, "-m", "benchmarks.deqa_full_size", "--measure", "--folder", str(args.folder)]
        subprocess.run([*command, "--tiles", str(args.tiles)], check=True)
    finally:
        shutil.rmtree(args.folder)


if __name__ == "__main__":
    main()
