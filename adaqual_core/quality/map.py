"""The quality map: local quality 1 (destroyed) to 5 (clean) of a picture, and what can be done with it (paper section 3).

The map of our assessors has one score per cell of 16×16 px; maps of any other size are resampled where they are used.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from ..filters import gaussian_blur
from ..grid import CELL, HIGHEST, LOWEST, cell_count, severity_of
from ..kinds import KINDS


@dataclass(frozen=True)
class QualityMap:
    """Quality of B pictures of ``height`` × ``width`` px.

    ``scores`` [B, 1, h, w] in [1, 5], float32 on the CPU. ``assessor``: what made the map. ``kinds`` [B, 8, h', w'] in [0, 1],
    float32 on the CPU: severity of each kind of damage in the order of KINDS, or None where it is not known. ``painted``: damage
    that an artist has set through masks; it maps names of kinds to severities [B, 1, height, width] in [0, 1] per pixel, float32
    on the CPU. ``scores`` and ``kinds`` do not hold it; all methods and properties take it into account.
    """

    scores: Tensor
    height: int
    width: int
    assessor: str
    kinds: Tensor | None = None
    painted: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self):
        shape = tuple(self.scores.shape)
        if len(shape) != 4 or shape[1] != 1 or 0 in shape:
            raise ValueError(f"scores: shape {shape}; a quality map is [B, 1, h, w] with no empty side")
        if self.scores.dtype != torch.float32 or self.scores.device.type != "cpu":
            raise ValueError(f"scores: {self.scores.dtype} on {self.scores.device}; give float32 on the CPU")
        if self.height < 1 or self.width < 1:
            raise ValueError(f"picture size: {self.height}×{self.width}; both sides must be at least 1 px")
        if not bool(((self.scores >= LOWEST) & (self.scores <= HIGHEST)).all()):
            raise ValueError("scores: values outside [1, 5] or NaN; clamp them, or check the assessor's input")
        if self.kinds is not None:
            found = tuple(self.kinds.shape)
            if len(found) != 4 or found[:2] != (shape[0], len(KINDS)) or 0 in found:
                raise ValueError(f"kinds: shape {found}; give [{shape[0]}, {len(KINDS)}, h, w]")
            _check_severities("kinds", self.kinds)
        for kind, damage in self.painted.items():
            found, wanted = tuple(damage.shape), (shape[0], 1, self.height, self.width)
            if kind not in KINDS or self.kinds is None or found != wanted:
                raise ValueError(f"painted: '{kind}' {found}; give {list(wanted)} by names of kinds, for a map that has kinds")
            _check_severities("painted", damage)

    @property
    def batch(self) -> int:
        """Number of pictures B."""
        return self.scores.shape[0]

    @property
    def painted_severity(self) -> Tensor | None:
        """The largest severity that was set through masks, of any kind, [B, 1, height, width]; None where nothing was."""
        fields = list(self.painted.values())
        return reduce(torch.maximum, fields) if fields else None

    @property
    def mean(self) -> Tensor:
        """Mean quality of each picture, [B] in [1, 5]."""
        return (self.cells() if self.painted else self.scores).mean((1, 2, 3))

    @property
    def severity(self) -> Tensor:
        """Severity s = (5 − Q)/4, [B, 1, h, w] in [0, 1] (method.md section 3)."""
        return (HIGHEST - (self.cells() if self.painted else self.scores)) / (HIGHEST - LOWEST)

    def resized(self, height: int, width: int) -> Tensor:
        """Scores [B, 1, height, width], bilinear when enlarged and averaged over areas when reduced."""
        scores, painted = _resized(self.scores, height, width), self.painted_severity
        return scores if painted is None else _lowered(scores, _resized(painted, height, width))

    def cells(self) -> Tensor:
        """Scores on the cell grid, [B, 1, ceil(height/16), ceil(width/16)].

        Damage that was set through a mask counts in every cell that the mask touches, as severe as at its worst pixel there.
        """
        scores, painted = _resized(self.scores, *cell_grid(self)), self.painted_severity
        return scores if painted is None else _lowered(scores, worst_of_cells(painted))

    def kind_cells(self) -> Tensor | None:
        """Severity of each kind on the cell grid, [B, 8, ceil(height/16), ceil(width/16)], or None where it is not known.

        Damage that was set through masks counts as for :meth:`cells`.
        """
        if self.kinds is None:
            return None
        kinds = _resized(self.kinds, *cell_grid(self))
        return _raised(kinds, {kind: worst_of_cells(damage) for kind, damage in self.painted.items()})

    def kind_pixels(self, kind: str) -> Tensor | None:
        """Severity of one kind per pixel, [B, 1, height, width] in [0, 1], or None where it is not known."""
        if self.kinds is None:
            return None
        index = KINDS.index(kind)
        severity = _resized(self.kinds[:, index : index + 1], self.height, self.width)
        return torch.maximum(severity, self.painted[kind]) if kind in self.painted else severity

    def unpainted(self) -> "QualityMap":
        """The map without the damage that was set through masks."""
        return replace(self, painted={})

    def index(self, picture: int) -> "QualityMap":
        """The map of one picture of the batch."""
        one = slice(picture, picture + 1)
        kinds = None if self.kinds is None else self.kinds[one]
        return replace(self, scores=self.scores[one], kinds=kinds, painted={k: v[one] for k, v in self.painted.items()})


def _check_severities(name: str, field: Tensor) -> None:
    if field.dtype != torch.float32 or field.device.type != "cpu":
        raise ValueError(f"{name}: {field.dtype} on {field.device}; give float32 on the CPU")
    if not bool(((field >= 0) & (field <= 1)).all()):
        raise ValueError(f"{name}: values outside [0, 1] or NaN; clamp them, or check the assessor's input")


def _lowered(scores: Tensor, severity: Tensor) -> Tensor:
    """Scores that are at most those of ``severity`` [B, 1, h, w]."""
    return torch.minimum(scores, HIGHEST - (HIGHEST - LOWEST) * severity)


def worst_of_cells(severity: Tensor) -> Tensor:
    """The largest severity in each cell of 16×16 px, [B, C, H, W] → [B, C, ceil(H/16), ceil(W/16)]."""
    return F.max_pool2d(severity, CELL, ceil_mode=True)


def _raised(kinds: Tensor, by: Mapping[str, Tensor]) -> Tensor:
    """Severities [B, 8, h, w] that are at least those of some kinds, each [B, 1, h, w]."""
    if not by:
        return kinds
    kinds = kinds.clone()
    for kind, severity in by.items():
        index = KINDS.index(kind)
        kinds[:, index : index + 1] = torch.maximum(kinds[:, index : index + 1], severity)
    return kinds


def _resized(field: Tensor, height: int, width: int) -> Tensor:
    if (height, width) == tuple(field.shape[-2:]):
        return field
    if height <= field.shape[-2] and width <= field.shape[-1]:
        found = F.interpolate(field, (height, width), mode="area")
    else:
        found = F.interpolate(field, (height, width), mode="bilinear", align_corners=False)
    return found.clamp(float(field.amin()), float(field.amax()))  # rounding must not leave the range


FAINT = 0.4
"""Severity that real damage exceeds somewhere, in a picture that is mostly undamaged."""


def without_faint_regions(scores: Tensor) -> Tensor:
    """Scores [B, 1, h, w] without the regions that are faintly damaged throughout (our definition).

    To an assessor without a reference a soft background or a pale wall looks faintly damaged; real damage has a core that is
    worse. So severity is opened by reconstruction (Vincent 1993, grayscale reconstruction): what no path of places at least as
    severe as itself joins to a place above FAINT is lowered to the best joining level. Where damage is everywhere faint damage
    belongs to it: FAINT falls with the picture's median severity, to 0 at 1/8 (quality 4.5), where nothing is removed.
    """
    severity = (HIGHEST - scores) / (HIGHEST - LOWEST)
    median = severity.flatten(1).median(1).values.view(-1, 1, 1, 1)
    core = torch.minimum(severity, 4 * F.relu(severity - FAINT * F.relu(1 - 8 * median)))  # a ramp: small changes stay small
    while True:
        grown = torch.minimum(F.max_pool2d(core, 3, 1, 1), severity)
        if torch.equal(grown, core):
            return HIGHEST - (HIGHEST - LOWEST) * core
        core = grown


def quality_from_severity(mask: Tensor, assessor: str = "mask") -> QualityMap:
    """Quality map of a severity mask [B, H, W] or [B, 1, H, W] in [0, 1] (1 = destroyed); outside values are clamped."""
    if mask.ndim == 3:
        mask = mask[:, None]
    if mask.ndim != 4 or mask.shape[1] != 1:
        raise ValueError(f"mask: shape {tuple(mask.shape)}; give [B, H, W] or [B, 1, H, W]")
    if bool(mask.isnan().any()):
        raise ValueError("mask: holds NaN; repair the node that made it")
    scores = HIGHEST - (HIGHEST - LOWEST) * mask.detach().cpu().float().clamp(0, 1)
    return QualityMap(scores, mask.shape[-2], mask.shape[-1], assessor)


def edit_quality(
    quality: QualityMap,
    *,
    override: Tensor | None = None,
    override_quality: float = LOWEST,
    minimum: float = LOWEST,
    maximum: float = HIGHEST,
    gain: float = 1.0,
    blur: float = 0.0,
) -> QualityMap:
    """Edit a map by hand: severity × ``gain`` (overall and by kind), then blur (standard deviation in px of the picture), then
    limits, then paint.

    Where the ``override`` mask ([B or 1, h, w] in [0, 1], any size) is 1 the score becomes ``override_quality``; between 0 and
    1 it is mixed. Scores outside the painted area end within [minimum, maximum]. Damage that was set through masks is edited
    alike, and stays exact to the pixel.
    """
    for name, value in (("override_quality", override_quality), ("minimum", minimum), ("maximum", maximum)):
        if not LOWEST <= value <= HIGHEST:
            raise ValueError(f"{name}: {value}; qualities go from 1 (destroyed) to 5 (clean)")
    if minimum > maximum:
        raise ValueError(f"minimum: {minimum} is above maximum {maximum}; lower it")
    if gain < 0 or not math.isfinite(gain):
        raise ValueError(f"gain: {gain}; give a finite number of at least 0")
    if blur < 0 or not math.isfinite(blur):
        raise ValueError(f"blur: {blur}; give a width in px of at least 0")
    if override is not None:
        override = _checked_mask("override", override, quality.batch)

    def edited(scores: Tensor) -> Tensor:
        scores = (HIGHEST - (HIGHEST - scores) * gain).clamp(LOWEST, HIGHEST)
        per_cell = scores.shape[-1] / quality.width
        scores = torch.stack([gaussian_blur(one, blur * per_cell) for one in scores]).clamp(minimum, maximum)
        if override is not None:
            # painted strokes can be finer than a cell: work at the finer of the two grids
            fine = [max(a, b) for a, b in zip(scores.shape[-2:], cell_grid(quality), strict=True)]
            mode = "area" if override.shape[-1] > fine[1] else "bilinear"
            paint = F.interpolate(override, fine, mode=mode)
            scores = F.interpolate(scores, fine, mode="bilinear") if list(scores.shape[-2:]) != fine else scores
            scores = scores + paint * (override_quality - scores)
        return scores.clamp(LOWEST, HIGHEST)

    painted = {kind: severity_of(edited(HIGHEST - (HIGHEST - LOWEST) * damage)) for kind, damage in quality.painted.items()}
    return replace(
        quality,
        scores=edited(quality.scores),
        assessor=f"{quality.assessor}, edited",
        kinds=None if quality.kinds is None else (quality.kinds * gain).clamp(0, 1),
        painted=painted,
    )


def _checked_mask(name: str, mask: Tensor, batch: int) -> Tensor:
    """A mask [1 or B, h, w] as float32 [1 or B, 1, h, w] in [0, 1] on the CPU; ValueError for other shapes and for NaN."""
    if mask.ndim != 3 or mask.shape[0] not in (1, batch) or 0 in mask.shape:
        raise ValueError(f"{name}: shape {tuple(mask.shape)}; give [1 or {batch}, h, w]")
    mask = mask[:, None].detach().cpu().float()
    if bool(mask.isnan().any()):
        raise ValueError(f"{name}: holds NaN; repair the node that made it")
    return mask.clamp(0, 1)


def set_damage(quality: QualityMap, kind: str, severity: float, mask: Tensor | None = None) -> QualityMap:
    """Say that a map's pictures have damage which its assessor may have missed (our definition).

    ``kind`` is one of KINDS and ``severity`` a number in [0, 1]. The kind's severity becomes the larger of what the assessor saw
    and what is said here, and the overall severity becomes at least as large. ``mask`` [B or 1, h, w] in [0, 1], of any size,
    limits this to a region, to the pixel, and multiplies the severity where it lies between 0 and 1. A map that names no kinds
    gets them: 0 for all kinds but this one.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: '{kind}'; choose from {', '.join(KINDS)}")
    if not 0 <= severity <= 1:
        raise ValueError(f"severity: {severity}; give a number from 0 (nothing is said) to 1 (worst)")
    kinds, scores, painted = quality.kinds, quality.scores, dict(quality.painted)
    if kinds is None:
        kinds = torch.zeros(quality.batch, len(KINDS), *cell_grid(quality))
    if mask is None:
        kinds = _raised(kinds, {kind: torch.full_like(kinds[:, :1], severity)})
        scores = scores.clamp_max(HIGHEST - (HIGHEST - LOWEST) * severity)
    else:
        region = _resized(_checked_mask("mask", mask, quality.batch), quality.height, quality.width)
        said = (severity * region).expand(quality.batch, -1, -1, -1)
        painted[kind] = torch.maximum(painted[kind], said) if kind in painted else said
    return replace(quality, scores=scores, kinds=kinds, painted=painted)


def cell_grid(quality: QualityMap) -> tuple[int, int]:
    """Rows and columns of the picture's cell grid."""
    return cell_count(quality.height), cell_count(quality.width)
