"""This module trains the bundled quality estimator: overall quality, and the severity of each kind of damage."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from adaqual_core.grid import quality_of, severity_of
from adaqual_core.kinds import KINDS
from adaqual_core.quality.estimator import EstimatorConfig, QualityEstimator
from adaqual_core.weight_files import save_model

from .darkness import label_dark_photos
from .held_out import Case, as_picture, held_out, mean
from .recipe import Recipe
from .run import Evaluation

NAMED = 0.3
"""A singly damaged picture of at least this severity counts for the share of pictures whose kind is named."""


@dataclass(frozen=True)
class AssessorLoss:
    """This class holds the weights of the losses (a recipe's table ``loss``).

    The overall severity has a Huber loss, which is quadratic below ``quality_delta``. The severities by kind have a
    cross-entropy.
    """

    quality: float
    quality_delta: float
    kinds: float


class Objective(nn.Module):
    """This module computes the loss of the estimator on a batch.

    Severities by kind are mostly 0, and an absolute error is then smallest if 0 is always predicted (measured). The cross-entropy
    avoids that.
    """

    def __init__(self, network: QualityEstimator, settings: AssessorLoss):
        super().__init__()
        self.network, self.settings = network, settings

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the losses of ``picture`` [B, 3, H, W], ``levels`` [B, 40], ``severity`` [B, 9, h, w], ``known`` [B, 8] and
        ``exact`` [B].

        Kinds that are not known have no loss. Where the overall severity is not exact, only what is predicted below it counts.
        """
        logits = self.network(batch["picture"].contiguous(memory_format=torch.channels_last), batch["levels"]).float()
        settings, truth = self.settings, batch["severity"]
        overall = torch.sigmoid(logits[:, :1])
        wrong = F.huber_loss(overall, truth[:, :1], delta=settings.quality_delta, reduction="none")
        counts = (batch["exact"][:, None, None, None] > 0) | (overall < truth[:, :1])
        quality = (wrong * counts).mean()
        entropy = F.binary_cross_entropy_with_logits(logits[:, 1:], truth[:, 1:], reduction="none")
        floor = F.binary_cross_entropy(truth[:, 1:], truth[:, 1:], reduction="none")
        kinds = ((entropy - floor) * batch["known"][:, :, None, None]).mean()
        return {"loss": settings.quality * quality + settings.kinds * kinds, "quality": quality.detach(), "kinds": kinds.detach()}


def spearman(first: Tensor, second: Tensor) -> float:
    """Return the rank correlation of two flat tensors."""
    from scipy.stats import spearmanr

    return float(spearmanr(first.flatten().numpy(), second.flatten().numpy()).statistic)


class AssessorTask:
    """This class gives batches to the estimator's training, and measures and saves the estimator."""

    def __init__(self, recipe: Recipe, corpus: Path):
        torch.manual_seed(recipe.schedule.seed)
        self.recipe = recipe
        self.network = QualityEstimator(EstimatorConfig(**recipe.sizes))
        self.objective = Objective(self.network, AssessorLoss(**recipe.loss))
        self.cases: list[Case] = list(held_out(corpus, recipe.scenes, recipe.schedule.held_out))

    def batch(self, scenes: dict[str, Tensor], numbers: list, update: int) -> dict[str, Tensor]:
        """Return whole scenes, because the estimator is always given whole pictures or their statistics."""
        picture = as_picture(scenes["degraded"])
        truth = torch.cat((severity_of(scenes["quality"]), scenes["severity"]), 1).clamp(0, 1)
        severity, known, exact = label_dark_photos(picture, truth, scenes["known"])
        return {"picture": picture, "levels": scenes["levels"], "severity": severity, "known": known, "exact": exact}

    def evaluate(self, network: nn.Module, device: torch.device) -> Evaluation:
        """Return the rank correlation and error of the quality, the error by group, and the share of singly damaged pictures
        whose kind is named.

        Photos that are dark or hazy in themselves are labelled as in training. Where their quality is unknown, they do not count.
        """
        values: dict[str, float] = {}
        errors: dict[str, list[float]] = {}
        scores, truths, named, alarms = [], [], [], []
        worst: list[tuple[float, Tensor]] = []
        network.eval()
        for case in self.cases:
            picture = as_picture(case.scene["degraded"])
            truth = torch.cat((severity_of(case.scene["quality"]), case.scene["severity"]), 1).clamp(0, 1)
            severity, _, exact = label_dark_photos(picture, truth, case.scene["known"])
            if not exact:
                continue
            quality, picture = quality_of(severity[:, :1]), picture.to(device)
            with torch.inference_mode():
                found, kinds = (x.float().cpu() for x in network.severities(picture, case.scene["levels"].to(device)))
            error = float((found - quality).abs().mean())
            errors.setdefault(case.group, []).append(error)
            scores.append(found.flatten())
            truths.append(quality.flatten())
            worst.append((error, picture.cpu()))
            means, true = kinds.mean((0, 2, 3)), severity[:, 1:].mean((0, 2, 3))
            if case.group in KINDS and float(true.max()) >= NAMED:
                named.append(float(int(means.argmax()) == int(true.argmax())))
            if case.group == "clean":
                alarms.append(float(means.max()))
        values |= {f"error_{group}": round(mean(found), 3) for group, found in errors.items()}
        values["correlation"] = round(spearman(torch.cat(scores), torch.cat(truths)), 4)
        values["named"] = round(mean(named), 4) if named else 0.0
        values["alarm_clean"] = round(mean(alarms), 4)
        worst.sort(key=lambda pair: -pair[0])
        sheet = torch.cat([picture for _, picture in worst[:8]], 3)
        return Evaluation(values, values["correlation"] + values["named"] - values["alarm_clean"], sheet)

    def save(self, network: nn.Module, path: Path, notes: dict[str, Any]) -> None:
        """Write the estimator as a model file."""
        save_model(network, path, notes)
