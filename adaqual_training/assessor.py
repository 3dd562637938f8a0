"""Training of the embedded assessor on the local full-reference target."""

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from adaqual_core.assessor import AssessorConfig, AssessorNet
from adaqual_core.checkpoint import load_assessor
from adaqual_training.data import DegradedPictures, held_out, load_corpus
from adaqual_training.loop import Run, bfloat16_is_fast

CLEAN = 0.35
"""Share of clean pictures: the loss is smallest at the median of what a cell may be, and a cell in which no damage can be
seen should be taken for clean."""

COMPOSED, NATIVE = 0.25, 0.5
"""Share of pictures that are as much of a photo as there is, whose levels are those of a composed whole; and of crops of the
photo's own pixels: photos are judged as they are, and at random scales most crops are made smaller, hence sharper, and what is
soft in an undamaged photo was taken for damage."""

UNEVEN = 0.4
"""Share of pictures damaged in a region only: in the others the statistics of the whole tell nearly all."""


def spearman(first: Tensor, second: Tensor) -> float:
    """Rank correlation of two flat tensors."""
    from scipy.stats import spearmanr

    return float(spearmanr(first.flatten().numpy(), second.flatten().numpy()).statistic)


def evaluate(net: AssessorNet, cases: dict) -> dict[str, float]:
    """Mean absolute error per kind in quality units, and the rank correlation over all cells of all cases."""
    results, all_scores, all_targets = {}, [], []
    with torch.no_grad():
        for kind, case in cases.items():
            scores = net(case["degraded"])
            results[kind] = round(float((scores - case["target"]).abs().mean()), 3)
            all_scores.append(scores.flatten())
            all_targets.append(case["target"].flatten())
    results["srcc"] = round(spearman(torch.cat(all_scores), torch.cat(all_targets)), 4)
    return results


def train(args: argparse.Namespace) -> None:
    """Train for ``args.hours``, or for ``args.updates`` where given, in this call; resume from the run's state or from
    committed weights."""
    device = torch.device(args.device)
    corpus = Path(args.corpus)
    cases = held_out(load_corpus(corpus, "held"), 256, 6)
    model = load_assessor(args.init) if args.init else AssessorNet(AssessorConfig())
    run = Run(Path(args.run), model, args.rate, args.hours, device, args.updates)
    seed = args.seed + run.done.iteration
    data = DegradedPictures(load_corpus(corpus, "train"), args.size, seed, CLEAN, composed=COMPOSED, native=NATIVE, uneven=UNEVEN)
    batches = iter(DataLoader(data, args.batch, num_workers=args.workers, prefetch_factor=4))
    running, finished = None, False
    while not finished:
        batch = next(batches)
        degraded, target = batch["degraded"].to(device), batch["target"].to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_is_fast(device)):
            scores = run.model(degraded.contiguous(memory_format=torch.channels_last), batch["statistics"].to(device))
        loss = (scores - target).abs().mean()
        run.step(loss, 0.998)
        running = loss.item() if running is None else running + (loss.item() - running) / 100
        finished = run.finished()
        if run.done.iteration % args.every == 0 or finished:
            run.save("assessor.safetensors", loss=round(running, 4), **evaluate(run.average.cpu(), cases))
            run.average.to(device)
