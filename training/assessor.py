"""Training of the embedded assessor on the local full-reference target."""

import argparse
import copy
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from adaqual_core.assessor import AssessorConfig, AssessorNet
from adaqual_core.checkpoint import load_assessor, save_model
from training.data import DegradedPictures, held_out, load_corpus
from training.loop import bfloat16_is_fast, log_line, save_state, set_rate, update_average


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
    """Train until ``args.hours`` have passed in this call; resume from the run's state or from committed weights."""
    device = torch.device(args.device)
    run = Path(args.run)
    run.mkdir(parents=True, exist_ok=True)
    corpus = Path(args.corpus)
    cases = held_out(load_corpus(corpus, "held"), 256, 6)
    model = load_assessor(args.init) if args.init else AssessorNet(AssessorConfig())
    model = model.to(device, memory_format=torch.channels_last).train().requires_grad_(True)
    average = copy.deepcopy(model).requires_grad_(False).eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.rate, betas=(0.9, 0.99), weight_decay=1e-4)
    iteration, hours_before = 0, 0.0
    state_file = run / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        iteration, hours_before = state["iteration"], state["hours"]
    data = DegradedPictures(load_corpus(corpus, "train"), args.size, args.seed + iteration)
    batches = iter(DataLoader(data, args.batch, num_workers=args.workers, prefetch_factor=4))
    started, running = time.time(), None
    while True:
        batch = next(batches)
        degraded, target = batch["degraded"].to(device), batch["target"].to(device)
        set_rate(optimizer, args.rate, iteration, (time.time() - started) / (3600 * args.hours))
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_is_fast(device)):
            scores = model(degraded.contiguous(memory_format=torch.channels_last))
        loss = (scores - target).abs().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        iteration += 1
        update_average(average, model, iteration, 0.998)
        running = loss.item() if running is None else running + (loss.item() - running) / 100
        hours = hours_before + (time.time() - started) / 3600
        finished = time.time() - started > args.hours * 3600 or (run / "stop").exists()
        if iteration % args.every == 0 or finished:
            log_line(run / "log.jsonl", iteration=iteration, hours=round(hours, 3), loss=round(running, 4),
                     **evaluate(average.cpu(), cases))  # fmt: skip
            average.to(device)
            save_state(state_file, model=model.state_dict(), average=average.state_dict(),
                       optimizer=optimizer.state_dict(), iteration=iteration, hours=hours)  # fmt: skip
            save_model(average, run / "assessor.safetensors", {"iterations": iteration, "hours": round(hours, 2)})
        if finished:
            (run / "stop").unlink(missing_ok=True)
            return
