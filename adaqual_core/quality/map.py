"""This module holds the quality map, which says how good a picture is from place to place, 1 (destroyed) to 5 (clean), and what
can be done with it (paper section 3).

The map of our assessors has one score per cell of 16×16 px; maps of any other size are resampled where they are used.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import check_number, check_tensor
from ..default_dtype import float32_default
from ..grid import CELL, HIGHEST, LOWEST, cell_count
from ..kinds import KINDS

LARGEST = 2**20
"""Longest side in px of a picture that a map can be of."""


@dataclass(frozen=True)
class QualityMap:
    """This class is the quality map of B pictures of ``height`` × ``width`` px. ValueError is raised for fields of other shapes,
    types and ranges than these.

    ``scores`` [B, 1, h, w] in [1, 5], float32 on the CPU. ``assessor``: what made the map. ``kinds`` [B, 8, h', w'] in [0, 1],
    float32 on the CPU: severity of each kind of damage in the order of KINDS, or None where it is not known. ``pixels``
    [B, 1, height, width] in [1, 5], float32 on the CPU: scores per pixel, where an artist painted more finely than the cells, or
    None; ``scores`` hold the same per cell. ``painted``: damage that an artist has set through masks; it maps names of kinds to
    severities [B, 1, height, width] in [0, 1] per pixel, float32 on the CPU. The other fields do not hold it; all methods and
    properties take it into account. ``kinds_said``: whether ``kinds`` hold nothing but what an artist has said, because the
    assessor names no kinds. ``drawn`` [B, 1, h", w"] in [0, 1], float32 on the CPU, of any size: how far an artist has set the
    score of each place through a mask, which is followed exactly there; None where no mask was used.
    """

    scores: Tensor
    height: int
    width: int
    assessor: str
    kinds: Tensor | None = None
    pixels: Tensor | None = None
    painted: Mapping[str, Tensor] = field(default_factory=dict)
    kinds_said: bool = False
    drawn: Tensor | None = None

    def __post_init__(self):
        check_tensor("scores", self.scores)
        shape = tuple(self.scores.shape)
        if len(shape) != 4 or shape[1] != 1 or 0 in shape:
            raise ValueError(f"scores: shape {shape}; a quality map is [B, 1, h, w] with no empty side")
        for side in (self.height, self.width):
            check_number("picture size", side, int)
        if not (1 <= self.height <= LARGEST and 1 <= self.width <= LARGEST):
            raise ValueError(f"picture size: {self.height}×{self.width}; both sides must be 1 to {LARGEST} px")
        _check_range("scores", self.scores, LOWEST, HIGHEST)
        if self.kinds is not None:
            check_tensor("kinds", self.kinds)
            found = tuple(self.kinds.shape)
            if len(found) != 4 or found[:2] != (shape[0], len(KINDS)) or 0 in found:
                raise ValueError(f"kinds: shape {found}; give [{shape[0]}, {len(KINDS)}, h, w]")
            _check_range("kinds", self.kinds, 0, 1)
        wanted = (shape[0], 1, self.height, self.width)
        if self.pixels is not None:
            check_tensor("pixels", self.pixels)
            if tuple(self.pixels.shape) != wanted:
                raise ValueError(f"pixels: shape {tuple(self.pixels.shape)}; give {list(wanted)}")
            _check_range("pixels", self.pixels, LOWEST, HIGHEST)
        if not isinstance(self.painted, Mapping):
            raise ValueError(f"painted: {self.painted!r}; give tensors by names of kinds")
        for kind, damage in self.painted.items():
            check_tensor("painted", damage)
            found = tuple(damage.shape)
            if kind not in KINDS or self.kinds is None or found != wanted:
                raise ValueError(f"painted: '{kind}' {found}; give {list(wanted)} by names of kinds, for a map that has kinds")
            _check_range("painted", damage, 0, 1)
        if self.drawn is not None:
            check_tensor("drawn", self.drawn)
            found = tuple(self.drawn.shape)
            if len(found) != 4 or found[:2] != (shape[0], 1) or 0 in found:
                raise ValueError(f"drawn: shape {found}; give [{shape[0]}, 1, h, w]")
            _check_range("drawn", self.drawn, 0, 1)

    @property
    def batch(self) -> int:
        """Return the number of pictures B."""
        return self.scores.shape[0]

    @property
    def painted_severity(self) -> Tensor | None:
        """Return the largest severity that was set through masks, of any kind, [B, 1, height, width], or None where none was."""
        fields = list(self.painted.values())
        return reduce(torch.maximum, fields) if fields else None

    @property
    def mean(self) -> Tensor:
        """Return the mean quality of each picture, [B] in [1, 5]."""
        return (self.cells() if self.painted else self.scores).mean((1, 2, 3))

    @property
    def severity(self) -> Tensor:
        """Return the severity s = (5 − Q)/4, [B, 1, h, w] in [0, 1] (method.md section 3)."""
        return (HIGHEST - (self.cells() if self.painted else self.scores)) / (HIGHEST - LOWEST)

    def resized(self, height: int, width: int) -> Tensor:
        """Return the scores as [B, 1, height, width], bilinear when enlarged and averaged over areas when reduced."""
        finest = self.scores if self.pixels is None else self.pixels
        scores, painted = resampled(finest, height, width), self.painted_severity
        return scores if painted is None else _lowered(scores, resampled(painted, height, width))

    def pixel_scores(self) -> Tensor | None:
        """Return the scores per pixel [B, 1, height, width] where an artist painted them more finely than the cells, otherwise
        None.

        Damage that was set through masks is not among them.
        """
        if self.pixels is not None:
            return self.pixels
        finer = any(side > cells for side, cells in zip(self.scores.shape[-2:], cell_grid(self), strict=True))
        return resampled(self.scores, self.height, self.width) if finer else None

    def cells(self) -> Tensor:
        """Return the scores on the cell grid, [B, 1, ceil(height/16), ceil(width/16)].

        Damage that was set through a mask counts in every cell that the mask touches, as severe as at its worst pixel there.
        """
        scores, painted = resampled(self.scores, *cell_grid(self)), self.painted_severity
        return scores if painted is None else _lowered(scores, worst_of_cells(painted))

    def kind_cells(self) -> Tensor | None:
        """Return the severity of each kind on the cell grid, [B, 8, ceil(height/16), ceil(width/16)], or None where it is not
        known.

        Damage that was set through masks counts as for :meth:`cells`.
        """
        if self.kinds is None:
            return None
        kinds = resampled(self.kinds, *cell_grid(self))
        return raised(kinds, {kind: worst_of_cells(damage) for kind, damage in self.painted.items()})

    def kind_pixels(self, kind: str) -> Tensor:
        """Return the severity of one kind of damage per pixel, [B, 1, height, width] in [0, 1].

        Raises ValueError where the map names no kinds.
        """
        if self.kinds is None:
            raise ValueError(
                f"quality: the map names no kinds of damage (made by: {self.assessor}); use the bundled "
                "assessor's map, or say the kinds (set_damage, the node Set Damage, --assume)"
            )
        index = KINDS.index(kind)
        severity = resampled(self.kinds[:, index : index + 1], self.height, self.width)
        return torch.maximum(severity, self.painted[kind]) if kind in self.painted else severity

    def unpainted(self) -> "QualityMap":
        """Return the map without the damage that was set through masks."""
        return replace(self, painted={})

    def index(self, picture: int) -> "QualityMap":
        """Return the map of one picture of the batch."""
        one = slice(picture, picture + 1)
        kinds, pixels, drawn = (None if part is None else part[one] for part in (self.kinds, self.pixels, self.drawn))
        painted = {kind: damage[one] for kind, damage in self.painted.items()}
        return replace(self, scores=self.scores[one], kinds=kinds, pixels=pixels, painted=painted, drawn=drawn)


def _check_range(name: str, values: Tensor, lowest: float, highest: float) -> None:
    """Raise ValueError unless all values are float32 on the CPU and from ``lowest`` to ``highest``."""
    if values.dtype != torch.float32 or values.device.type != "cpu":
        raise ValueError(f"{name}: {values.dtype} on {values.device}; give float32 on the CPU")
    if not bool(((values >= lowest) & (values <= highest)).all()):
        raise ValueError(f"{name}: values outside [{lowest:g}, {highest:g}] or NaN; clamp them, or check the assessor's input")


def _lowered(scores: Tensor, severity: Tensor) -> Tensor:
    """Return the scores, lowered to those of ``severity`` [B, 1, h, w] where they are higher."""
    return torch.minimum(scores, HIGHEST - (HIGHEST - LOWEST) * severity)


def worst_of_cells(severity: Tensor) -> Tensor:
    """Return the largest severity in each cell of 16×16 px: [B, C, H, W] gives [B, C, ceil(H/16), ceil(W/16)]."""
    return F.max_pool2d(severity, CELL, ceil_mode=True)


def raised(kinds: Tensor, by: Mapping[str, Tensor]) -> Tensor:
    """Return severities [B, 8, h, w], raised to the severities ``by`` kind [B, 1, h, w] where they are lower."""
    if not by:
        return kinds
    kinds = kinds.clone()
    for kind, severity in by.items():
        index = KINDS.index(kind)
        kinds[:, index : index + 1] = torch.maximum(kinds[:, index : index + 1], severity)
    return kinds


def resampled(field: Tensor, height: int, width: int) -> Tensor:
    """Return a field [B, C, h, w] as [B, C, height, width], averaged over areas if no side grows and bilinear otherwise. Values
    stay within the range of the field.
    """
    if (height, width) == tuple(field.shape[-2:]):
        return field
    if height <= field.shape[-2] and width <= field.shape[-1]:
        found = F.interpolate(field, (height, width), mode="area")
    else:
        found = F.interpolate(field, (height, width), mode="bilinear", align_corners=False)
    return found.clamp(float(field.amin()), float(field.amax()))  # rounding must not leave the range


@float32_default()
def quality_from_severity(mask: Tensor, assessor: str = "mask") -> QualityMap:
    """Return the quality map of a severity mask [B, H, W] or [B, 1, H, W] in [0, 1] (1 = destroyed). Values outside are clamped;
    ValueError is raised for NaN and for other shapes.
    """
    check_tensor("mask", mask)
    if mask.ndim == 3:
        mask = mask[:, None]
    if mask.ndim != 4 or mask.shape[1] != 1:
        raise ValueError(f"mask: shape {tuple(mask.shape)}; give [B, H, W] or [B, 1, H, W]")
    if bool(mask.isnan().any()):
        raise ValueError("mask: holds NaN; repair the node that made it")
    scores = HIGHEST - (HIGHEST - LOWEST) * mask.detach().cpu().float().clamp(0, 1)
    return QualityMap(scores, mask.shape[-2], mask.shape[-1], assessor, drawn=torch.ones(len(scores), 1, 1, 1))


def checked_mask(name: str, mask: Tensor, batch: int) -> Tensor:
    """Return a mask [1 or B, h, w] as float32 [1 or B, 1, h, w] in [0, 1] on the CPU. Raises ValueError for other shapes and for
    NaN.
    """
    check_tensor(name, mask)
    if mask.ndim != 3 or 0 in mask.shape:
        raise ValueError(f"{name}: shape {tuple(mask.shape)}; give [1, h, w] or [{batch}, h, w]")
    if len(mask) not in (1, batch):
        raise ValueError(f"{name}: {len(mask)} masks for {batch} maps; give one mask, or one per map")
    mask = mask[:, None].detach().cpu().float()
    if bool(mask.isnan().any()):
        raise ValueError(f"{name}: holds NaN; repair the node that made it")
    return mask.clamp(0, 1)


def cell_grid(quality: QualityMap) -> tuple[int, int]:
    """Return the number of rows and columns of the picture's cell grid."""
    return cell_count(quality.height), cell_count(quality.width)
