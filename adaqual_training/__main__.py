"""``python -m adaqual_training assessor|restorer``: train a network; runs are resumable, and a file named ``stop`` in the run's
folder ends one cleanly."""

import argparse

import torch

from adaqual_core.denoiser import PRESETS
from adaqual_training import assessor, restorer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``adaqual train``."""
    parser.add_argument("what", choices=("assessor", "restorer"))
    parser.add_argument("--corpus", default="runs/corpus", help="folder made by python -m adaqual_training.corpus")
    parser.add_argument("--run", help="folder of state, log and preview (default runs/WHAT); training resumes from it")
    parser.add_argument("--init", help="start from the weights of this model file")
    parser.add_argument("--hours", type=float, default=1.0, help="stop after this many hours (default 1)")
    parser.add_argument("--updates", type=int, help="stop after this many updates instead, however long they take")
    parser.add_argument("--batch", type=int, default=16, help="pictures per iteration (default 16)")
    parser.add_argument("--size", type=int, default=128, help="side of a training picture in px (default 128)")
    parser.add_argument("--rate", type=float, default=4e-4, help="learning rate (default 4e-4)")
    parser.add_argument("--every", type=int, default=250, help="iterations between evaluations (default 250)")
    parser.add_argument("--preset", default="nano", choices=tuple(PRESETS), help="size of a new restorer (default nano)")
    parser.add_argument("--assessor", help="assessor that makes the restorer's quality maps (default: the shipped one)")
    parser.add_argument("--without", choices=restorer.WITHOUT, help="withhold this from the restorer (adaqual_training.ablation)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes that make training pictures (default 1)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def run(args: argparse.Namespace) -> None:
    """Train what ``args.what`` names."""
    args.run = args.run or f"runs/{args.what}"
    (assessor if args.what == "assessor" else restorer).train(args)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m adaqual_training", description=__doc__)
    add_arguments(parser)
    run(parser.parse_args())
