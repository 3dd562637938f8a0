"""The adaptive prompt: what a quality map asks of the denoiser, region by region (paper section 3, method.md section 3).

A prompt does not depend on the model's weights: it holds severity, complexity and soft prompt length per cell, the global
statistics that condition P_g, and the preservation mask. :mod:`adaqual_core.guidance` turns it into tokens.
"""

from dataclasses import dataclass

from torch import Tensor

from .checks import check_picture
from .image_statistics import global_statistics
from .quality.map import QualityMap

MAX_LENGTH = 16.0
"""Longest local prompt in tokens; the pools of our presets hold that many tokens each."""


@dataclass(frozen=True)
class PromptSettings:
    """An artist's controls over the prompt.

    ``gamma`` (0.1 to 5): complexity C = severity^gamma; below 1 mild damage already gets complex prompts.
    ``min_length``, ``max_length`` (0 to 16 tokens): prompt length at C = 0 and C = 1.
    ``preserve`` (1 to 5): regions of at least this quality are not touched; 5 leaves out only what is perfect.
    """

    gamma: float = 1.0
    min_length: float = 1.0
    max_length: float = MAX_LENGTH
    preserve: float = 4.5

    def __post_init__(self):
        if not 0.1 <= self.gamma <= 5:
            raise ValueError(f"gamma: {self.gamma}; give 0.1 to 5 (1 = complexity grows evenly with severity)")
        if not 0 <= self.min_length <= self.max_length <= MAX_LENGTH:
            raise ValueError(
                f"min_length, max_length: {self.min_length}, {self.max_length}; give 0 ≤ min_length ≤ max_length ≤ 16"
            )
        if not 1 <= self.preserve <= 5:
            raise ValueError(f"preserve: {self.preserve}; give a quality from 1 (keep everything) to 5")


PRESERVE_RAMP = 0.5
"""Width in quality units of the ramp from "restored" (below) to "kept" (at the preserve threshold); our definition."""


@dataclass(frozen=True)
class Prompt:
    """The adaptive prompt of B pictures; all fields float32 on the CPU, [B, 1, h, w] on the cell grid unless said.

    ``severity`` and ``complexity`` in [0, 1], ``length`` in tokens, ``preservation`` in [0, 1] (0 = keep, 1 = restore),
    ``statistics`` [B, STATISTICS].
    """

    quality: QualityMap
    settings: PromptSettings
    severity: Tensor
    complexity: Tensor
    length: Tensor
    preservation: Tensor
    statistics: Tensor


def preservation_mask(scores: Tensor, preserve: float) -> Tensor:
    """m(Q): 0 at and above ``preserve``, 1 from PRESERVE_RAMP below it, smoothstep between; any shape."""
    x = ((preserve - scores) / PRESERVE_RAMP).clamp(0, 1)
    return x * x * (3 - 2 * x)


def build_prompt(picture: Tensor, quality: QualityMap, settings: PromptSettings = PromptSettings()) -> Prompt:
    """The adaptive prompt for pictures [B, 3 or 4, H, W] in [0, 1] and their quality map (one map may serve all B)."""
    check_picture(picture)
    if tuple(picture.shape[-2:]) != (quality.height, quality.width):
        raise ValueError(
            f"quality map of a {quality.height}×{quality.width} picture, but this one is {picture.shape[-2]}×"
            f"{picture.shape[-1]} (height×width); estimate the map on the picture that is restored"
        )
    if quality.batch not in (1, picture.shape[0]):
        raise ValueError(f"quality map of {quality.batch} pictures for a batch of {picture.shape[0]}; give one, or as many")
    scores = quality.cells().expand(picture.shape[0], -1, -1, -1)
    severity = (5 - scores) / 4
    complexity = severity**settings.gamma
    return Prompt(
        quality=quality,
        settings=settings,
        severity=severity,
        complexity=complexity,
        length=settings.min_length + complexity * (settings.max_length - settings.min_length),
        preservation=preservation_mask(scores, settings.preserve),
        statistics=global_statistics(picture[:, :3].detach().cpu().float().clamp(0, 1), severity),
    )
