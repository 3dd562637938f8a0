"""Training of the restorer: an update per batch from pure noise, and for one batch in three another on the state that the
sampler's first step really leaves. The loss is L_noise + λ1·L_quality + λ2·L_percep (paper section 3), and the tone curve's."""

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from adaqual_core.assessor import AssessorNet
from adaqual_core.checkpoint import load_assessor, load_denoiser
from adaqual_core.denoiser import PRESETS, Denoiser, initialise
from adaqual_core.diffusion import TRAIN_STEPS, alphas_cumprod, ddim_step, sample, timesteps
from adaqual_core.imageio import write_picture
from adaqual_core.prompt import MAX_LENGTH, PromptSettings, global_statistics, levels_and_detail, preservation_mask
from adaqual_core.quality import CELL
from adaqual_core.tone import tone_change
from adaqual_training.data import DegradedPictures, held_out, load_corpus, psnr
from adaqual_training.loop import Run, bfloat16_is_fast

SECOND_STEPS = 1 / 3
"""Share of the batches that also train the sampler's second step: fresh pictures teach more than a second look at one."""

CLEAN = 0.1
"""Share of clean pictures."""

COMPOSED = 0.7
"""Share of pictures that are as much of a photo as there is: what is too dark or too pale shows against a composed whole."""

SEVERITY_WEIGHT = 1.0
"""κ in w(q) = 1 + κ·s."""


def charbonnier(error: Tensor, epsilon: float = 0.03) -> Tensor:
    """√(e² + ε²) − ε, elementwise: quadratic below ε, |e| above.

    With a tiny ε a pixel's loss is minimal at the median, and most pictures have no noise: what removes noise where it is
    must first be learnt against the majority that loses by it, and was not in 7000 updates (measured).
    """
    return (error.square() + epsilon**2).sqrt() - epsilon


EVEN_WEIGHT, EVEN_EPSILON, DETAIL_WEIGHT, GRADIENT_WEIGHT = 2.5, 0.1, 4.0, 2.0
"""Of the error's 8×8 means, what is left of it, and its differences: under a plain mean of |e| the even errors of haze and
darkness drown all detail. The means' loss is quadratic over most of their range: where a dark picture may be a damaged one or
night, |e| is minimal at the likelier of the two (mostly: nothing to do), its square in between, which PSNR asks for."""


def restoration_loss(error: Tensor, weight: Tensor) -> Tensor:
    """Of a residual's error [B, 3, H, W], weighted by w(q): L_noise, apart for 8×8 means and for detail, plus L_percep on
    horizontal and vertical differences; a scalar."""
    means = torch.nn.functional.avg_pool2d(error, 8)
    detail = error - torch.nn.functional.interpolate(means, error.shape[-2:], mode="nearest")
    across, down = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    gradient = (charbonnier(across) * weight[..., 1:]).mean() + (charbonnier(down) * weight[..., 1:, :]).mean()
    even = (charbonnier(means, EVEN_EPSILON) * torch.nn.functional.avg_pool2d(weight, 8)).mean()
    return EVEN_WEIGHT * even + DETAIL_WEIGHT * (charbonnier(detail) * weight).mean() + GRADIENT_WEIGHT / 2 * gradient


def picture_weight(residual: Tensor, exponent: float = 0.25) -> Tensor:
    """Weight [B, 1, 1, 1] of each picture by its true residual: (0.1 / (mean |r| + 0.02))^exponent.

    Between a plain mean, in which a small shift of a nearly clean picture costs nothing, and PSNR, in which nearly clean
    pictures outweigh all others (a trap that was measured): with the square root, darkness and haze are not undone.
    """
    return (0.1 / (residual.abs().mean((1, 2, 3), keepdim=True) + 0.02)) ** exponent


TONE_WEIGHT = 1.0
"""Of :func:`tone_loss` beside :func:`restoration_loss`."""


def tone_loss(curve: Tensor, degraded: Tensor, clean: Tensor, severity: Tensor) -> Tensor:
    """Error of tone curves alone on 4×4 means of whole pictures, weighted by 0.1 + severity: where some of a picture is damaged,
    the curve is for that part. The exponent 0.2 favours large errors."""
    before, after = (torch.nn.functional.avg_pool2d(p, 4) for p in (degraded, clean))
    weight = 0.1 + torch.nn.functional.interpolate(severity, before.shape[-2:])
    error = charbonnier(before + tone_change(before, curve) - after, EVEN_EPSILON)
    return (error * weight * picture_weight(after - before, 0.2)).mean()


QUALITY_WEIGHT, QUALITY_SHARE = 0.2, 1 / 4
"""λ1, and the share of the batches on which L_quality is taken, for it needs the assessor's gradient."""


def quality_loss(assessor: AssessorNet, restored: Tensor, clean: Tensor, statistics: Tensor) -> Tensor:
    """L_quality: the frozen assessor's severity of what was restored, as far as it exceeds that of the clean picture; both as
    parts of a clean whole with these ``statistics`` [B, LEVELS_AND_DETAIL]."""
    with torch.no_grad():
        own = assessor(clean, statistics)
    return torch.relu(own - assessor(restored.clamp(0, 1), statistics)).mean() / 4


def conditions(scores: Tensor, statistics: Tensor) -> dict[str, Tensor]:
    """What the denoiser is told of pictures with these quality scores and statistics, at the default prompt settings."""
    severity = (5 - scores) / 4
    settings = PromptSettings()
    length = settings.min_length + severity**settings.gamma * (MAX_LENGTH - settings.min_length)
    return {"severity": severity, "length": length, "statistics": statistics}


WITHOUT = ("prompts", "regions", "statistics")
"""What an ablation can withhold from the denoiser."""


def withheld(told: dict[str, Tensor], average: Tensor, without: str | None) -> dict[str, Tensor]:
    """What is left of :func:`conditions` ``without`` prompts (every picture is told the same), without regions (every cell is
    told its picture's ``average`` severity [B]), or without the global prompt's statistics."""
    severity, length, statistics = told["severity"], told["length"], told["statistics"]
    if without == "regions":
        even = 5 - 4 * average.view(-1, 1, 1, 1).expand_as(severity)
        return conditions(even, statistics)
    if without == "prompts":
        severity, length = torch.zeros_like(severity), torch.zeros_like(length)
    if without in ("prompts", "statistics"):
        statistics = torch.zeros_like(statistics)
    return {"severity": severity, "length": length, "statistics": statistics}


CONTEXT, CROPS = 2, 2
"""Each degraded picture is this many times as wide as what is trained on, and gives this many crops: at work, too, the quality
map and the global prompt come from the whole picture and the network sees a tile."""


def crops(pictures: list[Tensor], scores: Tensor, size: int, generator: torch.Generator) -> tuple[list[Tensor], Tensor]:
    """CROPS windows of ``size`` px, in whole cells, from each of the square ``pictures``, tensors [B, 3, H, H] of one scene each,
    and from their scores: tensors of CROPS·B, in which a scene's windows lie B apart."""
    cells, side = scores.shape[-1], size // CELL
    found = []
    for _ in range(CROPS):
        for index in range(len(scores)):
            top, left = torch.randint(0, cells - side + 1, (2,), generator=generator).tolist()
            windows = [p[index, :, top * CELL : top * CELL + size, left * CELL : left * CELL + size] for p in pictures]
            found.append((*windows, scores[index, :, top : top + side, left : left + side]))
    *parts, cut = (torch.stack(part) for part in zip(*found, strict=True))
    return parts, cut


def first_timestep(generator: torch.Generator) -> tuple[int, int]:
    """A pair of timesteps: trailing's, official's, or any two, 6 : 2 : 2."""
    draw = torch.rand((), generator=generator).item()
    if draw < 0.6:
        return 999, 499
    if draw < 0.8:
        return 500, 0
    first = int(torch.randint(500, TRAIN_STEPS, (), generator=generator))
    return first, int(torch.randint(0, first, (), generator=generator))


def preserved(scores: Tensor, size: torch.Size) -> Tensor:
    """The default preservation mask of these scores at ``size``: 0 where the sampler keeps the picture whatever is predicted."""
    mask = preservation_mask(scores, PromptSettings().preserve)
    return torch.nn.functional.interpolate(mask, size, mode="bilinear")


def restore_cases(
    model: Denoiser, picture: Tensor, scores: Tensor, steps: int = 2, without: str | None = None
) -> Tensor:
    """Pictures of these quality scores after so many trailing steps, seed 0."""
    severity = (5 - scores) / 4
    told = withheld(conditions(scores, global_statistics(picture, severity)), severity.mean((1, 2, 3)), without)
    alphas = alphas_cumprod()

    def predict(x: Tensor, t: int) -> Tensor:
        return model(picture, x, torch.full((len(x),), t), alphas[t].expand(len(x)), **told)

    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0)) * model.config.noise_scale
    mask = preserved(scores, picture.shape[-2:])
    residual = sample(lambda x, t: predict(x, t) * mask, noise, timesteps("trailing", steps))
    return (picture + residual).clamp(0, 1)


def evaluate(
    model: Denoiser, assessor: AssessorNet, cases: dict, sheet: Path | None = None, steps: int = 2, without: str | None = None
) -> dict[str, float]:
    """PSNR gain in dB per kind on the held-out cases ("clean": the PSNR itself), and a sheet: clean, degraded, restored."""
    results, rows = {}, []
    with torch.no_grad():
        for kind, case in cases.items():
            restored = restore_cases(model, case["degraded"], assessor(case["degraded"]), steps, without)
            after, before = psnr(restored, case["clean"]), psnr(case["degraded"], case["clean"])
            results[kind] = round(float(after.mean() if kind == "clean" else (after - before).mean()), 2)
            rows.append(torch.cat([*case["clean"][:1], *case["degraded"][:1], *restored[:1],
                                   *case["degraded"][1:2], *restored[1:2]], 2))  # fmt: skip
    damaged = [gain for kind, gain in results.items() if kind != "clean"]
    results["mean_gain"] = round(sum(damaged) / len(damaged), 3)
    if sheet is not None:
        write_picture(torch.cat(rows, 1)[None], sheet)
    return results


def train(args: argparse.Namespace) -> None:
    """Train for ``args.hours``, or for ``args.updates`` where given, in this call; resume from the run's state or from
    committed weights."""
    if args.size % CELL or args.batch < CROPS or args.batch % CROPS:
        raise ValueError(f"--size {args.size} --batch {args.batch}: give multiples of {CELL} px and of {CROPS} crops")
    device = torch.device(args.device)
    corpus = Path(args.corpus)
    cases = held_out(load_corpus(corpus, "held"), 256, 4)
    assessor = load_assessor(args.assessor) if args.assessor else load_assessor()
    if args.init:
        model = load_denoiser(args.init)
    else:
        model = Denoiser(PRESETS[args.preset])
        initialise(model, args.seed)
    run = Run(Path(args.run), model, args.rate, args.hours, device, args.updates)
    seed = args.seed + run.done.iteration
    generator = torch.Generator().manual_seed(seed)
    data = DegradedPictures(load_corpus(corpus, "train"), CONTEXT * args.size, seed, CLEAN, composed=COMPOSED)
    batches = iter(DataLoader(data, args.batch // CROPS, num_workers=args.workers, prefetch_factor=4))
    alphas = alphas_cumprod()
    fast = bfloat16_is_fast(device)
    scale = model.config.noise_scale

    def update(
        picture: Tensor, residual: Tensor, x: Tensor, t: int, told: dict, weight: Tensor, mask: Tensor, also: Tensor | float,
        beyond: Tensor,
    ) -> tuple[Tensor, float]:
        steps, alpha = torch.full((len(x),), t, device=device), alphas[t].to(device).expand(len(x))
        with torch.autocast(device.type, torch.bfloat16, enabled=fast):
            predicted = run.model(picture, x, steps, alpha, **told)
        predicted = predicted.float() * mask
        loss = restoration_loss(predicted - residual, weight)
        if torch.rand((), generator=generator) < QUALITY_SHARE:
            with torch.autocast(device.type, torch.bfloat16, enabled=fast):
                also = also + QUALITY_WEIGHT * quality_loss(assessor, picture + predicted, picture + residual, beyond)
        run.step(loss + also, 0.9985)
        return predicted.detach().clamp(-1, 1), loss.item()

    running, finished, logged = None, False, 0
    while not finished:
        batch = next(batches)
        whole = batch["degraded"].to(device).contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=fast):
            scores = assessor.to(device)(whole).float()
        whole_clean, severity = batch["clean"].to(device), (5 - scores) / 4
        statistics = global_statistics(batch["degraded"], severity.cpu()).to(device)
        curve = run.model.tone(withheld(conditions(scores, statistics), severity.mean((1, 2, 3)), args.without)["statistics"])
        tone = TONE_WEIGHT * tone_loss(curve, whole, whole_clean, severity)
        average = severity.mean((1, 2, 3)).repeat(CROPS)
        (picture, clean), scores = crops([whole, whole_clean], scores, args.size, generator)
        picture = picture.contiguous(memory_format=torch.channels_last)
        residual = clean - picture
        told = withheld(conditions(scores, statistics.repeat(CROPS, 1)), average, args.without)
        beyond = levels_and_detail(batch["clean"]).repeat(CROPS, 1).to(device)
        weight = 1 + SEVERITY_WEIGHT * torch.nn.functional.interpolate((5 - scores) / 4, picture.shape[-2:])
        weight = weight * picture_weight(residual)
        mask = preserved(scores, picture.shape[-2:])
        noise = torch.randn(picture.shape, generator=generator).to(device) * scale
        t1, t2 = first_timestep(generator)
        found, loss = update(picture, residual, noise, t1, told, weight, mask, tone, beyond)
        if torch.rand((), generator=generator) < SECOND_STEPS:
            x = ddim_step(noise, found, float(alphas[t1]), float(alphas[t2]))
            update(picture, residual, x, t2, told, weight, mask, 0.0, beyond)
        running = loss if running is None else running + (loss - running) / 200
        finished = run.finished()
        if run.done.iteration >= logged + args.every or finished:
            logged = run.done.iteration
            measured = evaluate(run.average.cpu(), assessor.cpu(), cases, run.folder / "preview.png", without=args.without)
            run.save("restorer.safetensors", loss=round(running, 5), **measured)
            run.average.to(device)
