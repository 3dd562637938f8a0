"""The quality map: local quality 1 (destroyed) to 5 (clean) of a picture, and what can be done with it (paper section 3).

The map of our assessors has one score per cell of 16×16 px; maps of any other size are resampled where they are used.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import check_number, check_tensor
from ..default_dtype import float32_default
from ..filters import gaussian_blur
from ..grid import HIGHEST, LOWEST, cell_count
from ..kinds import KINDS

LARGEST = 2**20
"""Longest side in px of a picture that a map can be of."""

WIDEST_BLUR = 1024
"""Largest standard deviation in px of the blur of a map; beyond it a map of pixels would take gigabytes to blur."""


@dataclass(frozen=True)
class QualityMap:
    """Quality of B pictures of ``height`` × ``width`` px.

    ``scores`` [B, 1, h, w] in [1, 5], float32 on the CPU. ``assessor``: what made the map. ``kinds`` [B, 8, h', w'] in [0, 1],
    float32 on the CPU: severity of each kind of damage in the order of KINDS, or None where it is not known.
    """

    scores: Tensor
    height: int
    width: int
    assessor: str
    kinds: Tensor | None = None

    def __post_init__(self):
        check_tensor("scores", self.scores)
        shape = tuple(self.scores.shape)
        if len(shape) != 4 or shape[1] != 1 or 0 in shape:
            raise ValueError(f"scores: shape {shape}; a quality map is [B, 1, h, w] with no empty side")
        if self.scores.dtype != torch.float32 or self.scores.device.type != "cpu":
            raise ValueError(f"scores: {self.scores.dtype} on {self.scores.device}; give float32 on the CPU")
        for side in (self.height, self.width):
            check_number("picture size", side, int)
        if not (1 <= self.height <= LARGEST and 1 <= self.width <= LARGEST):
            raise ValueError(f"picture size: {self.height}×{self.width}; both sides must be 1 to {LARGEST} px")
        if not bool(((self.scores >= LOWEST) & (self.scores <= HIGHEST)).all()):
            raise ValueError("scores: values outside [1, 5] or NaN; clamp them, or check the assessor's input")
        if self.kinds is not None:
            check_tensor("kinds", self.kinds)
            found = tuple(self.kinds.shape)
            if len(found) != 4 or found[:2] != (shape[0], len(KINDS)) or 0 in found:
                raise ValueError(f"kinds: shape {found}; give [{shape[0]}, {len(KINDS)}, h, w]")
            if self.kinds.dtype != torch.float32 or self.kinds.device.type != "cpu":
                raise ValueError(f"kinds: {self.kinds.dtype} on {self.kinds.device}; give float32 on the CPU")
            if not bool(((self.kinds >= 0) & (self.kinds <= 1)).all()):
                raise ValueError("kinds: values outside [0, 1] or NaN; clamp them, or check the assessor's input")

    @property
    def batch(self) -> int:
        """Number of pictures B."""
        return self.scores.shape[0]

    @property
    def mean(self) -> Tensor:
        """Mean quality of each picture, [B] in [1, 5]."""
        return self.scores.mean((1, 2, 3))

    @property
    def severity(self) -> Tensor:
        """Severity s = (5 − Q)/4, [B, 1, h, w] in [0, 1] (method.md section 3)."""
        return (HIGHEST - self.scores) / (HIGHEST - LOWEST)

    def resized(self, height: int, width: int) -> Tensor:
        """Scores [B, 1, height, width], bilinear when enlarged and averaged over areas when reduced."""
        return _resized(self.scores, height, width)

    def cells(self) -> Tensor:
        """Scores on the cell grid, [B, 1, ceil(height/16), ceil(width/16)]."""
        return self.resized(cell_count(self.height), cell_count(self.width))

    def kind_cells(self) -> Tensor | None:
        """Severity of each kind on the cell grid, [B, 8, ceil(height/16), ceil(width/16)], or None where it is not known."""
        if self.kinds is None:
            return None
        return _resized(self.kinds, cell_count(self.height), cell_count(self.width))

    def index(self, picture: int) -> "QualityMap":
        """The map of one picture of the batch."""
        one = slice(picture, picture + 1)
        return replace(self, scores=self.scores[one], kinds=None if self.kinds is None else self.kinds[one])


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


@float32_default()
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


@float32_default()
def quality_from_severity(mask: Tensor, assessor: str = "mask") -> QualityMap:
    """Quality map of a severity mask [B, H, W] or [B, 1, H, W] in [0, 1] (1 = destroyed); outside values are clamped."""
    check_tensor("mask", mask)
    if mask.ndim == 3:
        mask = mask[:, None]
    if mask.ndim != 4 or mask.shape[1] != 1:
        raise ValueError(f"mask: shape {tuple(mask.shape)}; give [B, H, W] or [B, 1, H, W]")
    if bool(mask.isnan().any()):
        raise ValueError("mask: holds NaN; repair the node that made it")
    scores = HIGHEST - (HIGHEST - LOWEST) * mask.detach().cpu().float().clamp(0, 1)
    return QualityMap(scores, mask.shape[-2], mask.shape[-1], assessor)


@float32_default()
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
    1 it is mixed. Scores outside the painted area end within [minimum, maximum].
    """
    for name, value in (("override_quality", override_quality), ("minimum", minimum), ("maximum", maximum)):
        check_number(name, value)
        if not LOWEST <= value <= HIGHEST:
            raise ValueError(f"{name}: {value}; qualities go from 1 (destroyed) to 5 (clean)")
    if minimum > maximum:
        raise ValueError(f"minimum: {minimum} is above maximum {maximum}; lower it")
    check_number("gain", gain)
    if not 0 <= gain <= 1e9:
        raise ValueError(f"gain: {gain}; give a number from 0 (no damage) to 1e9 (all damage is complete)")
    check_number("blur", blur)
    if not 0 <= blur <= WIDEST_BLUR:
        raise ValueError(f"blur: {blur}; give a width from 0 to {WIDEST_BLUR} px")
    scores = (HIGHEST - (HIGHEST - quality.scores) * gain).clamp(LOWEST, HIGHEST)
    per_cell = quality.scores.shape[-1] / quality.width
    scores = torch.stack([gaussian_blur(one, blur * per_cell) for one in scores]).clamp(minimum, maximum)
    if override is not None:
        check_tensor("override", override)
        if override.ndim != 3 or override.shape[0] not in (1, quality.batch):
            raise ValueError(f"override: shape {tuple(override.shape)}; give [1 or {quality.batch}, h, w]")
        # painted strokes can be finer than a cell: work at the finer of the two grids
        fine = [max(a, b) for a, b in zip(scores.shape[-2:], cell_grid(quality), strict=True)]
        paint = override[:, None].detach().cpu().float().clamp(0, 1)
        mode = "area" if paint.shape[-1] > fine[1] else "bilinear"
        paint = F.interpolate(paint, fine, mode=mode)
        scores = F.interpolate(scores, fine, mode="bilinear") if list(scores.shape[-2:]) != fine else scores
        scores = scores + paint * (override_quality - scores)
    kinds = None if quality.kinds is None else (quality.kinds * gain).clamp(0, 1)
    return replace(quality, scores=scores.clamp(LOWEST, HIGHEST), assessor=f"{quality.assessor}, edited", kinds=kinds)


def cell_grid(quality: QualityMap) -> tuple[int, int]:
    """Rows and columns of the picture's cell grid."""
    return cell_count(quality.height), cell_count(quality.width)
