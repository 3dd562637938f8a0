"""This module builds the adaptive prompt: what a quality map asks of the denoiser, region by region (paper section 3, method.md
section 3).

A prompt does not depend on the model's weights: it holds severity and soft prompt length per cell, the severity of each kind of
damage, the global statistics that condition the global prompt, and the restore mask. The networks turn it into tokens.
"""

from dataclasses import dataclass, fields, replace
from functools import reduce

import torch
from torch import Tensor

from .checks import check_number, check_numbers, check_picture, check_range
from .default_dtype import float32_default
from .filters import smoothstep
from .grid import CELL, HIGHEST, LOWEST, block_mask, block_of, pixel_mask, quality_of, severity_of
from .image_statistics import global_statistics
from .kinds import KINDS, TONAL
from .quality.map import QualityMap, raised, worst_of_cells
from .visible import filled

MAX_LENGTH = 16.0
"""Longest local prompt in tokens; the pools of our presets hold that many tokens each."""


@dataclass(frozen=True)
class PromptSettings:
    """This class holds an artist's controls over the prompt. ValueError is raised for values outside the ranges given here.

    ``gamma`` (0.1 to 5): complexity C = severity^gamma; below 1 mild damage already gets complex prompts.
    ``min_length``, ``max_length`` (0 to 16 tokens): prompt length at C = 0 and C = 1.
    ``preserve`` (1 to 5): regions of at least this quality are kept; 5 leaves out only what is perfect.
    ``factors``: how much of each kind of damage is to go, 0 (keep it) to 1 (remove it), in the order of KINDS.
    """

    gamma: float = 1.0
    min_length: float = 1.0
    max_length: float = MAX_LENGTH
    preserve: float = 4.5
    factors: tuple[float, ...] = (1.0,) * len(KINDS)

    def __post_init__(self):
        check_numbers(self)
        if not 0.1 <= self.gamma <= 5:
            raise ValueError(f"gamma: {self.gamma}; give 0.1 to 5 (1 = complexity grows evenly with severity)")
        if not 0 <= self.min_length <= self.max_length <= MAX_LENGTH:
            raise ValueError(
                f"min_length, max_length: {self.min_length}, {self.max_length}; give 0 ≤ min_length ≤ max_length ≤ 16"
            )
        if not 1 <= self.preserve <= 5:
            raise ValueError(f"preserve: {self.preserve}; give a quality from 1 (keep everything) to 5")
        if not isinstance(self.factors, tuple):
            raise ValueError(f"factors: {self.factors!r}; give a tuple of numbers")
        for factor in self.factors:
            check_number("factors", factor)
        if len(self.factors) != len(KINDS) or not all(0 <= factor <= 1 for factor in self.factors):
            raise ValueError(
                f"factors: {self.factors}; give one number from 0 (keep) to 1 (remove) for each of {', '.join(KINDS)}"
            )


PRESERVE_RAMP = 0.5
"""Width in quality units of the ramp from "restored" (below) to "kept" (at the preserve threshold); our definition."""


@dataclass(frozen=True)
class Prompt:
    """This class is the adaptive prompt of B pictures. All fields are float32 on the CPU and [B, 1, h, w] on the cell grid unless
    said.

    ``quality``: the map that it was built from. ``severity`` in [0, 1]: overall severity of the damage that is to go. ``length``:
    soft length of the local prompts in tokens. ``restore_mask`` in [0, 1]: 0 = keep the picture, 1 = restore it. ``statistics``
    [B, STATISTICS]. ``kinds`` [B, 8, h, w] in [0, 1]: severity of each kind that is to go, None where the map names no kinds.
    ``painted`` [B, 1, H, W] in [0, 1]: the restore mask per pixel of the picture where an artist painted the map more finely than
    its cells, or None. The sampler follows it instead of ``restore_mask``. ``said`` [B, 2, H, W] in [0, 1]: the restore mask per
    pixel of the damage that was set through masks, first of all kinds and then of low light and haze alone, or None. It raises
    the other masks.
    ``view`` [B, 19, 32, 32]: what the bilateral grid is predicted from in place of the picture itself, for frames of a clip; None
    for pictures.
    """

    quality: QualityMap
    severity: Tensor
    length: Tensor
    restore_mask: Tensor
    statistics: Tensor
    kinds: Tensor | None = None
    painted: Tensor | None = None
    said: Tensor | None = None
    view: Tensor | None = None

    def pixel_mask(self, picture: int) -> Tensor:
        """Return how far each pixel of one picture of the batch is restored, [H, W] in [0, 1], 0 where it is kept."""
        if self.painted is not None:
            mask = self.painted[picture, 0]
        else:
            mask = pixel_mask(self.restore_mask[picture, 0], self.quality.height, self.quality.width)
        return mask if self.said is None else torch.maximum(mask, self.said[picture, 0])

    def block_mask(self, picture: int, top: int, bottom: int, left: int, right: int) -> Tensor:
        """Return :meth:`pixel_mask` for a block of the picture, [1, bottom − top, right − left]. The block may reach beyond the
        picture as far as the last cells do.
        """
        mask = self.unsaid_block_mask(picture, top, bottom, left, right)
        return mask if self.said is None else torch.maximum(mask, block_of(self.said[picture, :1], top, bottom, left, right))

    def unsaid_block_mask(self, picture: int, top: int, bottom: int, left: int, right: int) -> Tensor:
        """Return :meth:`block_mask` without the damage that was set through masks."""
        if self.painted is not None:
            return block_of(self.painted[picture], top, bottom, left, right)
        return block_mask(self.restore_mask[picture : picture + 1], top, bottom, left, right)

    def index(self, picture: int) -> "Prompt":
        """Return the prompt of one picture of the batch."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        parts = {name: value[picture : picture + 1] for name, value in parts.items() if isinstance(value, Tensor)}
        return replace(self, quality=self.quality.index(picture) if self.quality.batch > 1 else self.quality, **parts)


@float32_default()
def restore_mask(scores: Tensor, preserve: float) -> Tensor:
    """Return m(Q) of scores of any shape: 0 at and above ``preserve``, 1 from PRESERVE_RAMP below it, and a smoothstep
    between.

    Raises ValueError for a ``preserve`` outside 1 to 5.
    """
    check_range("preserve", preserve, LOWEST, HIGHEST)
    return smoothstep(0.0, PRESERVE_RAMP, preserve - scores)


def prompt_length(severity: Tensor, settings: PromptSettings) -> Tensor:
    """Return the soft length in tokens of the local prompts for severities of any shape: L_min + s^γ·(L_max − L_min)."""
    return settings.min_length + severity**settings.gamma * (settings.max_length - settings.min_length)


def asked_damage(severity: Tensor, kinds: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Return the overall severity and the severities by kind of the damage that is to go, if each kind is asked for by a factor
    (our definition).

    ``severity`` [B, 1, h, w] and ``kinds`` [B, 8, h, w] in [0, 1]; ``factors`` [B or 1, 8] in [0, 1]. Severities by kind are
    multiplied by their factors; the overall severity keeps the share 1 − Π(1 − f·s) of 1 − Π(1 − s). It stays as it is where all
    factors are 1 or no kind is present.
    """
    asked = kinds * factors[:, :, None, None]
    present = 1 - (1 - kinds).prod(1, keepdim=True)
    share = (1 - (1 - asked).prod(1, keepdim=True)) / present.clamp_min(1e-4)
    all_asked = (factors >= 1).all(1).view(-1, 1, 1, 1)
    share = torch.where(all_asked | (present < 1e-4), torch.ones_like(share), share.clamp(0, 1))
    return severity * share, asked


@float32_default()
def build_prompt(picture: Tensor, quality: QualityMap, settings: PromptSettings = PromptSettings()) -> Prompt:
    """Return the adaptive prompt for pictures [B, 3 or 4, H, W] in [0, 1] and their quality map; one map may serve all B. Raises
    ValueError for a map of another picture, and for factors below 1 with a map that names no kinds of damage.
    """
    check_picture(picture)
    if tuple(picture.shape[-2:]) != (quality.height, quality.width):
        raise ValueError(
            f"quality map of a {quality.height}×{quality.width} picture, but this one is {picture.shape[-2]}×"
            f"{picture.shape[-1]} (height×width); estimate the map on the picture that is restored"
        )
    if quality.batch not in (1, picture.shape[0]):
        raise ValueError(f"quality map of {quality.batch} pictures for a batch of {picture.shape[0]}; give one, or as many")
    seen = quality.unpainted()
    scores, kinds = seen.cells().expand(picture.shape[0], -1, -1, -1), seen.kind_cells()
    severity, share = severity_of(scores), None
    if kinds is not None:
        kinds = kinds.expand(picture.shape[0], -1, -1, -1)
        share, kinds = asked_damage(torch.ones_like(severity), kinds, torch.tensor([settings.factors]))
        severity = severity * share
        scores = quality_of(severity)
    elif min(settings.factors) < 1:
        raise ValueError(
            f"factors: {settings.factors}, but the quality map names no kinds of damage (made by: {quality.assessor}); use the "
            "bundled assessor's map, say the kinds with set_damage, or leave all factors at 1"
        )
    cell_mask = restore_mask(scores, settings.preserve)
    if kinds is not None:  # only a map that names kinds can hold damage that was set through masks
        painted = {kind: worst_of_cells(damage * settings.factors[KINDS.index(kind)]) for kind, damage in quality.painted.items()}
        severity = reduce(torch.maximum, painted.values(), severity)
        kinds = raised(kinds, painted)
    return Prompt(
        quality=quality,
        severity=severity,
        length=prompt_length(severity, settings),
        restore_mask=cell_mask,
        statistics=global_statistics(filled(picture)[:, :3].detach().cpu().float().clamp(0, 1), severity),
        kinds=kinds,
        painted=_painted_mask(quality, settings, len(cell_mask), share),
        said=_said_mask(quality, settings, len(cell_mask)),
    )


def _painted_mask(quality: QualityMap, settings: PromptSettings, batch: int, share: Tensor | None) -> Tensor | None:
    """Return the restore mask per pixel [batch, 1, H, W] of a map that was painted more finely than its cells, or None for all
    other maps.

    ``share`` [B, 1, h, w] is the part of each cell's severity that is to go, None for all of it.
    """
    pixels = quality.pixel_scores()
    if pixels is None:
        return None
    if share is not None:
        share = share.repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)[..., : quality.height, : quality.width]
        pixels = quality_of(severity_of(pixels) * share)
    return restore_mask(pixels, settings.preserve).expand(batch, -1, -1, -1)


def _said_mask(quality: QualityMap, settings: PromptSettings, batch: int) -> Tensor | None:
    """Return the restore mask per pixel [batch, 2, H, W] of the damage that was set through masks: of all kinds, and of low light
    and haze alone. Return None where none was set.
    """
    masks = {
        kind: restore_mask(quality_of(damage * settings.factors[KINDS.index(kind)]), settings.preserve)
        for kind, damage in quality.painted.items()
    }
    if not masks:
        return None
    tonal = [mask for kind, mask in masks.items() if kind in TONAL]
    every = reduce(torch.maximum, masks.values())
    return torch.cat((every, reduce(torch.maximum, tonal, torch.zeros_like(every))), 1).expand(batch, -1, -1, -1)
