"""Training of the restorer: two updates per batch, the second on the state that the sampler's first step really leaves."""

import argparse
import copy
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from adaqual_core.assessor import AssessorNet
from adaqual_core.checkpoint import load_assessor, load_denoiser, save_model
from adaqual_core.denoiser import PRESETS, Denoiser, initialise
from adaqual_core.diffusion import TRAIN_STEPS, alphas_cumprod, ddim_step, sample, timesteps
from adaqual_core.imageio import write_picture
from adaqual_core.prompt import MAX_LENGTH, PromptSettings, global_statistics, preservation_mask
from training.data import DegradedPictures, held_out, load_corpus, psnr
from training.loop import bfloat16_is_fast, log_line, save_state, set_rate, update_average

SEVERITY_WEIGHT = 1.0
"""κ in w(q) = 1 + κ·s."""


def charbonnier(error: Tensor, epsilon: float = 0.03) -> Tensor:
    """√(e² + ε²) − ε, elementwise: quadratic below ε, |e| above.

    With a tiny ε a pixel's loss is minimal at the median, and most pictures have no noise: what removes noise where it is
    must first be learnt against the majority that loses by it, and was not in 7000 updates (measured).
    """
    return (error.square() + epsilon**2).sqrt() - epsilon


DETAIL_WEIGHT, GRADIENT_WEIGHT = 4.0, 2.0
"""Weights of what is left of the error after its 8×8 means, and of its differences: under a plain mean of |e| the even
errors of haze and darkness drown all detail."""


def restoration_loss(error: Tensor, weight: Tensor) -> Tensor:
    """Of a residual's error [B, 3, H, W], weighted by w(q): L_noise, apart for 8×8 means and for detail, plus L_percep on
    horizontal and vertical differences; a scalar."""
    means = torch.nn.functional.avg_pool2d(error, 8)
    detail = error - torch.nn.functional.interpolate(means, error.shape[-2:], mode="nearest")
    across, down = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    gradient = (charbonnier(across) * weight[..., 1:]).mean() + (charbonnier(down) * weight[..., 1:, :]).mean()
    even = (charbonnier(means) * torch.nn.functional.avg_pool2d(weight, 8)).mean()
    return even + DETAIL_WEIGHT * (charbonnier(detail) * weight).mean() + GRADIENT_WEIGHT / 2 * gradient


def picture_weight(residual: Tensor) -> Tensor:
    """Weight [B, 1, 1, 1] of each picture by its true residual: √(0.1 / (mean |r| + 0.02)).

    Between a plain mean, in which a small shift of a nearly clean picture costs nothing, and PSNR, in which nearly clean
    pictures outweigh all others (a trap that was measured).
    """
    return (0.1 / (residual.abs().mean((1, 2, 3), keepdim=True) + 0.02)).sqrt()


def conditions(scores: Tensor, picture: Tensor) -> dict[str, Tensor]:
    """What the denoiser is told of pictures with these quality scores, at the default prompt settings."""
    severity = (5 - scores) / 4
    settings = PromptSettings()
    length = settings.min_length + severity**settings.gamma * (MAX_LENGTH - settings.min_length)
    return {"severity": severity, "length": length, "statistics": global_statistics(picture.cpu(), severity.cpu()).to(picture)}


def first_timestep(generator: torch.Generator) -> tuple[int, int]:
    """A pair of timesteps: trailing's, official's, or any two, 6 : 2 : 2."""
    draw = torch.rand((), generator=generator).item()
    if draw < 0.6:
        return 999, 499
    if draw < 0.8:
        return 500, 0
    first = int(torch.randint(500, TRAIN_STEPS, (), generator=generator))
    return first, int(torch.randint(0, first, (), generator=generator))


def restore_cases(model: Denoiser, assessor: AssessorNet, case: dict, preserve: bool = True) -> Tensor:
    """The pictures of a held-out case after the two trailing steps, quality map estimated, seed 0."""
    picture = case["degraded"]
    scores = assessor(picture)
    told = conditions(scores, picture)
    alphas = alphas_cumprod()

    def predict(x: Tensor, t: int) -> Tensor:
        return model(picture, x, torch.full((len(x),), t), alphas[t].expand(len(x)), **told)

    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0)) * model.config.noise_scale
    mask = preservation_mask(scores, PromptSettings().preserve) if preserve else torch.ones_like(scores)
    mask = torch.nn.functional.interpolate(mask, picture.shape[-2:], mode="bilinear")
    residual = sample(lambda x, t: predict(x, t) * mask, noise, timesteps("trailing", 2))
    return (picture + residual).clamp(0, 1)


def evaluate(model: Denoiser, assessor: AssessorNet, cases: dict, sheet: Path) -> dict[str, float]:
    """PSNR gain in dB per kind on the held-out cases ("clean": the PSNR itself), and a sheet: clean, degraded, restored."""
    results, rows = {}, []
    with torch.no_grad():
        for kind, case in cases.items():
            restored = restore_cases(model, assessor, case)
            after, before = psnr(restored, case["clean"]), psnr(case["degraded"], case["clean"])
            results[kind] = round(float(after.mean() if kind == "clean" else (after - before).mean()), 2)
            rows.append(torch.cat([*case["clean"][:1], *case["degraded"][:1], *restored[:1],
                                   *case["degraded"][1:2], *restored[1:2]], 2))  # fmt: skip
    damaged = [gain for kind, gain in results.items() if kind != "clean"]
    results["mean_gain"] = round(sum(damaged) / len(damaged), 3)
    write_picture(torch.cat(rows, 1)[None], sheet)
    return results


def train(args: argparse.Namespace) -> None:
    """Train until ``args.hours`` have passed in this call; resume from the run's state or from committed weights."""
    device = torch.device(args.device)
    run = Path(args.run)
    run.mkdir(parents=True, exist_ok=True)
    corpus = Path(args.corpus)
    cases = held_out(load_corpus(corpus, "held"), 256, 4)
    assessor = load_assessor(args.assessor) if args.assessor else load_assessor()
    if args.init:
        model = load_denoiser(args.init).requires_grad_(True)
    else:
        model = Denoiser(PRESETS[args.preset])
        initialise(model, args.seed)
    model = model.to(device, memory_format=torch.channels_last).train()
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
    generator = torch.Generator().manual_seed(args.seed + iteration)
    data = DegradedPictures(load_corpus(corpus, "train"), args.size, args.seed + iteration)
    batches = iter(DataLoader(data, args.batch, num_workers=args.workers, prefetch_factor=4))
    alphas = alphas_cumprod()
    fast = bfloat16_is_fast(device)
    scale = model.config.noise_scale
    started, running = time.time(), None

    def update(picture: Tensor, residual: Tensor, x: Tensor, t: int, told: dict, weight: Tensor) -> tuple[Tensor, float]:
        nonlocal iteration
        set_rate(optimizer, args.rate, iteration, (time.time() - started) / (3600 * args.hours))
        steps, alpha = torch.full((len(x),), t, device=device), alphas[t].to(device).expand(len(x))
        with torch.autocast(device.type, torch.bfloat16, enabled=fast):
            predicted = model(picture, x, steps, alpha, **told)
        loss = restoration_loss(predicted.float() - residual, weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        iteration += 1
        update_average(average, model, iteration, 0.9985)
        return predicted.detach().float().clamp(-1, 1), loss.item()

    while True:
        batch = next(batches)
        picture = batch["degraded"].to(device).contiguous(memory_format=torch.channels_last)
        residual = batch["clean"].to(device) - picture
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=fast):
            scores = assessor.to(device)(picture)
        told = conditions(scores, picture)
        weight = 1 + SEVERITY_WEIGHT * torch.nn.functional.interpolate(told["severity"], picture.shape[-2:])
        weight = weight * picture_weight(residual)
        noise = torch.randn(picture.shape, generator=generator).to(device) * scale
        t1, t2 = first_timestep(generator)
        found, loss = update(picture, residual, noise, t1, told, weight)
        x = ddim_step(noise, found, float(alphas[t1]), float(alphas[t2]))
        _, second = update(picture, residual, x, t2, told, weight)
        loss = (loss + second) / 2
        running = loss if running is None else running + (loss - running) / 200
        hours = hours_before + (time.time() - started) / 3600
        finished = time.time() - started > args.hours * 3600 or (run / "stop").exists()
        if iteration % args.every < 2 or finished:
            log_line(run / "log.jsonl", iteration=iteration, hours=round(hours, 3), loss=round(running, 5),
                     patches_per_second=round(iteration * args.batch / (hours * 3600), 1),
                     **evaluate(average.cpu(), assessor.cpu(), cases, run / "preview.png"))  # fmt: skip
            average.to(device)
            save_state(state_file, model=model.state_dict(), average=average.state_dict(),
                       optimizer=optimizer.state_dict(), iteration=iteration, hours=hours)  # fmt: skip
            save_model(average, run / "restorer.safetensors", {"iterations": iteration, "hours": round(hours, 2)})
        if finished:
            (run / "stop").unlink(missing_ok=True)
            return
