"""This module measures a restorer on the held-out pictures, through the product's own map, prompt and sampler."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from adaqual_core.evaluate import psnr
from adaqual_core.grid import quality_of, severity_of
from adaqual_core.prompt import PromptSettings, build_prompt
from adaqual_core.quality.map import QualityMap
from adaqual_core.sampling.restore import restore
from adaqual_core.sampling.settings import RestoreSettings

from .held_out import Case, as_picture, mean
from .run import Evaluation

HARM = 0.1
"""A picture counts as made worse when it loses more than this many dB."""

HARM_COST = 5.0
"""The score is lowered by this many dB if all pictures are made worse, and in proportion if some are (our definition)."""

CLEAN_LEAST = 45.0
"""A clean picture counts as made worse when its restoration has a PSNR below this."""

NEARLY_CLEAN = 42.0
"""Damaged pictures whose PSNR is above this are in no mean of gains: one of them can lose more than ten others gain."""

CLEAN_BEST = 60.0
"""The PSNR of a restored clean picture counts as at most this many dB; unchanged ones have no finite PSNR."""


def true_map(scene: dict[str, Tensor], told: str) -> QualityMap:
    """Return the quality map of a held-out scene: the assessor's map where the scene holds one, otherwise the true map.

    ``told`` is "kinds", or for ablations "severity" (every kind is told the overall severity) or "nothing" (every kind is told
    0.5).
    """
    height, width = scene["degraded"].shape[-2:]
    scores, kinds = scene["quality"], scene["severity"]
    if "estimated" in scene:
        scores, kinds = quality_of(scene["estimated"][:, :1]), scene["estimated"][:, 1:]
    if told == "severity":
        kinds = severity_of(scores).expand_as(kinds)
    elif told == "nothing":
        kinds = torch.full_like(kinds, 0.5)
    return QualityMap(scores, height, width, "true", kinds)


def measure(network: nn.Module, cases: list[Case], told: str, steps: int = 2) -> Evaluation:
    """Restore the held-out pictures and return the gain in dB for each group, what was harmed, and a sheet of the worst.

    The group "clean" is measured by the PSNR itself. "gain" is the mean over the other groups, without pictures above
    NEARLY_CLEAN (0 for a group of which none is left), and "worst" the least gain of any damaged picture. "worse" is the share of
    all pictures that lose more than HARM, or are clean and get a PSNR below CLEAN_LEAST. The score is the gain minus HARM_COST
    times "worse" (our definition). The sheet shows the eight pictures that lose most, in rows of input, result and target at half
    size; clean ones count by how far they are below CLEAN_LEAST.
    """
    gains: dict[str, list[float]] = {}
    worse: list[float] = []
    damaged: list[float] = []
    rows: list[tuple[float, Tensor]] = []
    network.eval()
    for case in cases:
        scene = case.scene
        degraded, target = as_picture(scene["degraded"]), as_picture(scene["target"])
        settings = PromptSettings(factors=tuple(scene["factors"][0].tolist()))
        prompt = build_prompt(degraded, true_map(scene, told), settings)
        restored = (restore(network, degraded, prompt, RestoreSettings(steps=steps)).picture * 255).round() / 255
        after, before = float(psnr(restored, target)), float(psnr(degraded, target))
        value = min(after, CLEAN_BEST) if case.group == "clean" else after - before
        group = gains.setdefault(case.group, [])
        if case.group == "clean" or before <= NEARLY_CLEAN:
            group.append(value)
        lost = CLEAN_LEAST - value if case.group == "clean" else -value
        worse.append(float(lost > (0 if case.group == "clean" else HARM)))
        if case.group != "clean":
            damaged.append(value)
        rows.append((-lost, F.interpolate(torch.cat((degraded, restored, target), 3), scale_factor=0.5, mode="area")))
    means = {group: mean(found) if found else 0.0 for group, found in gains.items()}
    gain = mean([found for group, found in means.items() if group != "clean"])
    values = {group: round(found, 3) for group, found in means.items()}
    values |= {"gain": round(gain, 3), "worse": round(mean(worse), 4), "worst": round(min(damaged, default=0.0), 2)}
    rows.sort(key=lambda row: row[0])
    return Evaluation(values, gain - HARM_COST * mean(worse), torch.cat([row for _, row in rows[:8]], 2))
