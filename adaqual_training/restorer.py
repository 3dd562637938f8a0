"""This module trains the restorer: the bilateral grid and the denoiser together, the denoiser on either step of the sampler."""

import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from adaqual_core.grid import CELL, HIGHEST, LOWEST, quality_of, severity_of
from adaqual_core.image_statistics import joined_statistics
from adaqual_core.networks.bilateral_grid import view_of
from adaqual_core.networks.restorer import PRESETS, Restorer, RestorerConfig, detail, initialise
from adaqual_core.networks.tone import Tone, edge_aware, grid_gate
from adaqual_core.prompt import PromptSettings, asked_damage, prompt_length, restore_mask
from adaqual_core.quality.bundled import load_assessor
from adaqual_core.sampling.ddim import alphas_cumprod, ddim_step, timesteps
from adaqual_core.weight_files import save_model

from .darkness import LOW, dark_crops
from .held_out import Case, as_picture, held_out
from .measure_restorer import measure
from .recipe import Recipe
from .run import Evaluation


@dataclass(frozen=True)
class RestorerLoss:
    """This class holds the weights of the losses, and says what the network is told in training (a recipe's table ``loss``; our
    definition).

    ``grid``, ``whole``, ``detail``: weights of the error after the grid, of the error after the denoiser, and of the
    high-passed part of the latter. ``floor``: mean squared error that is added to the error before, so that clean pictures
    count without outweighing all others. ``exponent``: power of the ratio of the errors (0.5 compares root mean squared
    errors). ``harm``: weight of the part of that power that exceeds 1. ``second``: share of the batches that train the
    sampler's second step at the end; it grows with the square of the updates. ``estimated``: share of the samples that are told
    the assessor's map instead of the true one. ``rough``: greatest relative error of the true severities that are told.
    ``alarm``: probability that a kind that is absent is told as faintly present. ``missed``: probability that a kind is told at
    half its severity. ``level``: greatest relative error of the overall severity alone, in every sample. ``told``: "kinds",
    "severity" (one number for all kinds) or "nothing".
    """

    grid: float
    whole: float
    detail: float
    floor: float
    exponent: float
    harm: float
    second: float
    estimated: float
    rough: float
    alarm: float
    missed: float
    level: float
    told: str


LARGE = 1.5
"""Relative error beyond which a picture's loss grows with the logarithm."""

TRIES = 4
"""A crop in which nothing is to be restored is drawn again up to so many times in all."""


def relative_error(restored: Tensor, target: Tensor, before: Tensor, settings: RestorerLoss) -> Tensor:
    """Return the mean over pictures [B, 3, H, W] of the mean squared error divided by the one before, as a scalar.

    ``restored``, ``target`` and ``before`` (the damaged picture) are in [0, 1]. The ratio is taken to the power
    ``settings.exponent``, so that the last part of strong noise counts as well as the first. Where a picture was made worse, the
    part of that power above 1 is added once more, times ``settings.harm``. (The part of the ratio itself would be a hundred times
    as large where a clean picture is changed, and drown all other samples: docs/ablation.md.) Beyond LARGE the power grows with
    its logarithm only: one photo that is wrongly brightened had a gradient 100 times as long as that of all others of its batch
    (measured). Our definition.
    """
    after = (restored - target).square().mean((1, 2, 3))
    share = (after + 1e-3 * settings.floor) / ((before - target).square().mean((1, 2, 3)) + settings.floor)
    error = share.pow(settings.exponent)
    error = torch.where(error > LARGE, LARGE * (1 + torch.log(error.clamp_min(LARGE) / LARGE)), error)
    return (error + settings.harm * F.relu(error - 1)).mean()


def roughened(severity: Tensor, settings: RestorerLoss, rng: random.Random) -> Tensor:
    """Return true severities [9, h, w] in [0, 1] with the errors that an assessor makes (our definition).

    Each of the nine is scaled by a random factor. With the probabilities of ``settings`` a severity is halved, and a kind that
    is absent is told as faintly present.
    """
    scale = torch.tensor([math.exp(rng.uniform(-1, 1) * math.log1p(settings.rough)) for _ in range(len(severity))])
    missed = torch.tensor([0.5 if rng.random() < settings.missed else 1.0 for _ in range(len(severity))])
    alarms = torch.tensor(
        [0.0] + [rng.uniform(0, 0.15) if rng.random() < settings.alarm else 0.0 for _ in range(len(severity) - 1)]
    )
    told = severity * (scale * missed)[:, None, None]
    return torch.maximum(told, alarms[:, None, None]).clamp(0, 1)


class Objective(nn.Module):
    """This module computes the loss of the restorer on a batch."""

    def __init__(self, network: Restorer, settings: RestorerLoss):
        super().__init__()
        self.network, self.settings = network, settings
        self.alphas = alphas_cumprod()
        self.steps = timesteps("trailing", 2)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the losses of a batch that :meth:`RestorerTask.batch` made, as scalars by name; "loss" is their weighted sum."""
        net, settings, picture, target = self.network, self.settings, batch["picture"], batch["target"]
        damage, mask = batch["damage"], batch["mask"]
        grid = net.grid(view_of(batch["scene"], damage[:, :1], damage[:, 1:])) * grid_gate(damage[:, 1:])
        tone = Tone(grid, edge_aware(batch["scene"], mask))
        with torch.autocast(picture.device.type, enabled=False):
            toned = picture + tone.change(picture, batch["y"], batch["x"])
        before = picture
        grid_loss = relative_error(toned, target, before, settings)
        toned = toned.detach().clamp(0, 1)
        cells = batch["cells"]
        told = (batch["statistics"], damage[:, 1:].mean((2, 3)), cells[:, :1], cells[:, 1:], batch["length"])
        about, tokens, bias = net.conditioner(*told)
        fine = F.interpolate(batch["cell_mask"], scale_factor=CELL, mode="bilinear", align_corners=False)

        def predict(state: Tensor, t: int) -> Tensor:
            count, device = len(state), state.device
            alpha = self.alphas[t].to(device).expand(count)
            times = torch.full((count,), t, device=device)
            return net.denoiser(picture, toned, state, times, alpha, cells, about, tokens, bias).float() * fine

        state, t = batch["noise"] * net.config.noise_scale, self.steps[0]
        if bool(batch["second"][0]):
            with torch.no_grad():
                first = predict(state, t).clamp(-1, 1)
            state = ddim_step(state, first, float(self.alphas[t]), float(self.alphas[self.steps[1]]))
            t = self.steps[1]
        restored = toned + predict(state, t)
        whole = relative_error(restored, target, before, settings)
        fine_error = relative_error(detail(restored) / 8, detail(target) / 8, detail(before) / 8, settings)
        loss = settings.grid * grid_loss + settings.whole * whole + settings.detail * fine_error
        return {"loss": loss, "grid": grid_loss.detach(), "whole": whole.detach(), "detail": fine_error.detach()}


class RestorerTask:
    """This class says how the restorer is trained, measured and saved."""

    def __init__(self, recipe: Recipe, corpus: Path):
        if recipe.assessor is not None and not recipe.assessor.is_file():
            raise ValueError(f"assessor: no file {recipe.assessor}; train it first (recipes/assessor.toml), or remove the line")
        self.recipe = recipe
        sizes = dict(recipe.sizes)
        preset = PRESETS[sizes.pop("preset", "nano")]
        self.network = Restorer(RestorerConfig(**{**vars(preset), **sizes}))
        initialise(self.network, recipe.schedule.seed)
        self.loss = RestorerLoss(**recipe.loss)
        self.objective = Objective(self.network, self.loss)
        assessor = load_assessor(recipe.assessor) if recipe.assessor else None
        self.cases: list[Case] = list(held_out(corpus, recipe.scenes, recipe.schedule.held_out, assessor))

    def _told(self, scene: dict[str, Tensor], rng: random.Random) -> Tensor:
        """Return the overall severity and the severities by kind [9, h, w] that the network is told of one scene.

        Kinds that are struck out are still among them.
        """
        if "estimated" in scene and rng.random() < self.loss.estimated:
            told = scene["estimated"]
        else:
            told = roughened(torch.cat((severity_of(scene["quality"]), scene["severity"])), self.loss, rng)
        level = math.exp(rng.uniform(-1, 1) * math.log1p(self.loss.level))
        told = torch.cat(((told[:1] * level).clamp(0, 1), told[1:]))
        if self.loss.told == "severity":
            told = torch.cat((told[:1], told[:1].expand_as(told[1:])))
        elif self.loss.told == "nothing":
            told = torch.cat((told[:1], torch.full_like(told[1:], 0.5)))
        return told

    def batch(self, scenes: dict[str, Tensor], numbers: list[random.Random], update: int) -> dict[str, Tensor]:
        """Return crops of the scenes, what the network is told of them, and noise.

        ``numbers`` holds one source of random numbers per sample, from which all of the sample is drawn. Maps and statistics
        come from the whole scene, as they do in use, where the network also sees windows of a picture.
        """
        settings, size = PromptSettings(), self.recipe.schedule.crop
        side = scenes["degraded"].shape[-1]
        told = torch.stack([self._told({k: v[i] for k, v in scenes.items()}, rng) for i, rng in enumerate(numbers)])
        scene = as_picture(scenes["degraded"])
        # A photo that is dark or grainy in itself is the target as it is. So what the assessor says of that kind is struck out.
        known = scenes["known"].clone()
        known[dark_crops(scene, scenes["severity"][:, LOW]), LOW] = 0
        severity, kinds = asked_damage(told[:, :1], told[:, 1:], scenes["factors"] * known)
        damage = torch.cat((severity, kinds), 1)
        # Beyond the threshold of use, so that what the assessor hardly sees is learnt too.
        masks = [
            restore_mask(quality_of(one), rng.uniform(settings.preserve, HIGHEST))
            for one, rng in zip(severity, numbers, strict=True)
        ]
        mask = torch.stack(masks)
        statistics = joined_statistics(scene, severity, scenes["levels"])
        length = prompt_length(severity, settings)
        parts: dict[str, list[Tensor]] = {
            key: [] for key in ("picture", "target", "cells", "length", "cell_mask", "y", "x", "noise")
        }
        for i, rng in enumerate(numbers):
            n, least = size // CELL, (HIGHEST - settings.preserve) / (HIGHEST - LOWEST)
            for _ in range(TRIES):
                row, column = (rng.randint(0, side // CELL - n) for _ in range(2))
                if float(severity[i, :, row : row + n, column : column + n].amax()) > least:
                    break
            top, left = row * CELL, column * CELL
            parts["picture"].append(scene[i, :, top : top + size, left : left + size])
            parts["target"].append(as_picture(scenes["target"][i, :, top : top + size, left : left + size]))
            for key, field in (("cells", damage), ("length", length), ("cell_mask", mask)):
                parts[key].append(field[i, :, row : row + n, column : column + n])
            parts["y"].append((torch.arange(top, top + size) + 0.5) / side)
            parts["x"].append((torch.arange(left, left + size) + 0.5) / side)
            generator = torch.Generator().manual_seed(rng.getrandbits(32))
            parts["noise"].append(torch.randn(3, size, size, generator=generator))
        # The second step refines what the first one gives: before the first is good, there is little to learn.
        schedule = self.recipe.schedule
        share = self.loss.second * (update / schedule.updates) ** 2
        second = random.Random(f"{schedule.seed}/second/{update}").random() < share
        stacked = {key: torch.stack(value) for key, value in parts.items()}
        extra = {"scene": scene, "damage": damage, "mask": mask, "statistics": statistics, "second": torch.tensor([second])}
        return {**stacked, **extra}

    def evaluate(self, network: nn.Module, device: torch.device) -> Evaluation:
        """Return gain and harm on the held-out pictures, with the product's own prompt and sampler."""
        return measure(network, self.cases, self.loss.told)

    def save(self, network: nn.Module, path: Path, notes: dict[str, Any]) -> None:
        """Write the restorer as a model file, with ``notes`` in its header."""
        save_model(network, path, notes)
