"""This module holds the first generation's embedded assessor, and makes the quality maps of both generations (our definition).

The assessor is a small convolutional network that needs no reference picture and gives one score per cell of 16×16 px. It learns
:mod:`adaqual_core.quality.reference`. Its receptive field is finite, and the statistics of the whole picture that it is given are
computed once. Therefore a map made in tiles equals the map of the whole picture.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..checks import check_picture
from ..default_dtype import float32_default
from ..errors import NumericalError
from ..grid import CELL, HIGHEST, LOWEST, cell_count, mirrored
from ..image_statistics import LEVELS_AND_DETAIL, levels_and_detail
from ..visible import filled, without_invisible
from ..weight_files import WEIGHTS, build, kind_in, read
from .estimator import CELL_STATISTICS, EstimatorConfig, QualityEstimator, cell_statistics
from .map import QualityMap, without_faint_regions

SHIPPED_ASSESSOR = WEIGHTS / "adaqual_assessor.safetensors"


@dataclass(frozen=True)
class AssessorConfig:
    """This class holds the sizes of the assessor.

    ``widths``: channels at 1/2, 1/4, 1/8 and 1/16 of the picture. ``dilations``: dilation of each block at 1/16.
    ``picture_width``: hidden size of the layers that read the whole picture's statistics.
    """

    widths: tuple[int, int, int, int] = (32, 64, 96, 128)
    dilations: tuple[int, ...] = (1, 2, 4)
    picture_width: int = 64


class _Residual(nn.Module):
    """This block computes x + W2·GELU(W1·norm(x)), where W1 is a 3×3 convolution, depthwise and dilated if ``dilation`` is
    given.
    """

    def __init__(self, width: int, operations, dilation: int = 0):
        super().__init__()
        self.norm = operations.LayerNorm(width)
        self.dilation = dilation
        if dilation:
            self.depthwise = operations.Conv2d(width, width, 3, padding=dilation, dilation=dilation, groups=width)
            self.conv1 = operations.Conv2d(width, 2 * width, 1)
            self.conv2 = operations.Conv2d(2 * width, width, 1)
        else:
            self.conv1 = operations.Conv2d(width, width, 3, padding=1)
            self.conv2 = operations.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        if self.dilation:
            y = self.depthwise(y)
        return x + self.conv2(F.gelu(self.conv1(y)))


BANDS = 9


def band_energies(picture: Tensor) -> Tensor:
    """Return the logarithms of the energies of the three Haar detail bands per colour, of order 1.

    Pictures [B, 3, H, W] give [B, BANDS, H/4, W/4]. Noise shows in all bands everywhere, texture in some bands only. They are an
    input because a network learns slowly to compute them.
    """
    a, b, c, d = F.pixel_unshuffle(picture, 2).unflatten(1, (3, 4)).unbind(2)
    bands = torch.cat((a - b + c - d, a + b - c - d, a - b - c + d), 1)
    return torch.log(F.avg_pool2d(bands.abs(), 2) + 2e-3) * 0.5 + 1.5


class AssessorNet(nn.Module):
    """This network maps pictures [B, 3, H, W] in [0, 1], whose sides are multiples of 16, to scores [B, 1, H/16, W/16] in [1, 5].

    ``statistics`` [B, LEVELS_AND_DETAIL] are those of the whole picture of which the input is a part. They tell whether a dark
    place belongs to a dark picture, and whether grain or paleness is everywhere. Without them the input is taken for the whole.
    """

    file_kind = "assessor"

    def __init__(self, config: AssessorConfig = AssessorConfig(), operations=nn):
        super().__init__()
        self.config = config
        w1, w2, w3, w4 = config.widths
        self.stem = operations.Conv2d(12, w1, 3, padding=1)
        self.block1 = _Residual(w1, operations)
        self.down1 = operations.Conv2d(w1, w2, 2, 2)
        self.bands2 = operations.Conv2d(BANDS, w2, 1)
        self.block2 = _Residual(w2, operations)
        self.down2 = operations.Conv2d(w2, w3, 2, 2)
        self.bands3 = operations.Conv2d(BANDS, w3, 1)
        self.block3 = _Residual(w3, operations)
        self.down3 = operations.Conv2d(w3, w4, 2, 2)
        self.statistics = operations.Conv2d(CELL_STATISTICS, w4, 1)
        self.picture1 = operations.Linear(LEVELS_AND_DETAIL, config.picture_width)
        self.picture2 = operations.Linear(config.picture_width, w4)
        self.blocks4 = nn.ModuleList(_Residual(w4, operations, d) for d in config.dilations)
        self.norm = operations.LayerNorm(w4)
        self.head = operations.Conv2d(w4, 1, 1)

    @property
    def receptive_radius(self) -> int:
        """Return the distance in px beyond which nothing influences a cell's score, rounded up to whole cells."""
        radius = 2 + 2 + 4 + 8 + CELL * sum(self.config.dilations)
        return CELL * cell_count(radius)

    def forward(self, picture: Tensor, statistics: Tensor | None = None) -> Tensor:
        if statistics is None:
            statistics = levels_and_detail(picture.detach().float()).to(picture.dtype)
        x = F.pixel_unshuffle(picture * 2 - 1, 2)
        x = self.down1(self.block1(self.stem(x))) + self.bands2(band_energies(picture))
        x = self.down2(self.block2(x)) + self.bands3(band_energies(F.avg_pool2d(picture, 2)))
        x = self.down3(self.block3(x)) + self.statistics(cell_statistics(picture))
        x = x + self.picture2(F.gelu(self.picture1(statistics * 4 - 2)))[:, :, None, None]
        for block in self.blocks4:
            x = block(x)
        x = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return LOWEST + (HIGHEST - LOWEST) * torch.sigmoid(self.head(x).float())


def _check_finite(found: Tensor, where: str, dtype: torch.dtype) -> None:
    if not bool(torch.isfinite(found).all()):
        raise NumericalError(
            f"the assessor gave NaN or infinity {where} in {dtype}; "
            "its file is damaged, or the device cannot compute in this type: use float32"
        )


def _in_tiles(
    compute: Callable[[Tensor], Tensor], picture: Tensor, step: int, context: int, like: Tensor, reached: Callable[[], None]
) -> Tensor:
    """Return ``compute`` of a picture [1, 3, H, W], clamped to [0, 1], put together from tiles: [1, C, h, w], h and w in cells.

    Tiles have ``step`` cells along a side, and ``compute`` sees ``context`` cells around them; beyond the picture its border is
    mirrored. Parts have the type and device of ``like``. ``reached`` is called after each tile.
    """
    height, width = picture.shape[-2:]
    rows, columns = cell_count(height), cell_count(width)
    whole = torch.empty(0)
    for y, x in ((y, x) for y in range(0, rows, step) for x in range(0, columns, step)):
        top, bottom = max(0, y - context), min(rows, y + step + context)
        left, right = max(0, x - context), min(columns, x + step + context)
        ys = mirrored(height, top * CELL, bottom * CELL)
        xs = mirrored(width, left * CELL, right * CELL)
        found = compute(picture[0][:, ys][:, :, xs].clamp(0, 1)[None].to(like))
        _check_finite(found, f"at tile ({x * CELL}, {y * CELL})", like.dtype)
        if not len(whole):
            whole = found.new_empty(1, found.shape[1], rows, columns)
        inner = found[..., y - top : min(y + step, rows) - top, x - left : min(x + step, columns) - left]
        whole[..., y : y + step, x : x + step] = inner
        reached()
    return whole


@float32_default()
def estimate_quality(
    net: AssessorNet | QualityEstimator,
    picture: Tensor,
    *,
    tile: int = 1024,
    dtype: torch.dtype | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> QualityMap:
    """Return the quality map of pictures [B, 3 or 4, H, W] in [0, 1], made one picture and one tile at a time. Alpha only says
    what is invisible.

    Runs on the device of the network's weights, in ``dtype`` (theirs where not given). Tiles of ``tile`` px see the network's
    receptive field around them, so the map does not depend on them. Of the first generation's scores, regions that are faintly
    damaged throughout are left out (:func:`quality.map.without_faint_regions`); a :class:`QualityEstimator` also names the
    kinds of damage. ``progress(done, total)`` is called after each; what it raises cancels. Raises ValueError for bad input
    before any work.
    """
    if tile < CELL:
        raise ValueError(f"tile: {tile}; give at least {CELL} px (1024 suits most machines)")
    check_picture(picture)
    picture = filled(picture)
    like = next(net.parameters())
    like = like.new_empty(0, dtype=dtype or like.dtype)
    height, width = picture.shape[-2:]
    step, context = tile // CELL, net.receptive_radius // CELL
    named = isinstance(net, QualityEstimator)
    steps = len(picture) * math.ceil(cell_count(height) / step) * math.ceil(cell_count(width) / step)
    done = itertools.count(1)

    def reached() -> None:
        if progress is not None:
            progress(next(done), steps)

    found = []
    for one in picture[:, :3].split(1):
        known = levels_and_detail(one.cpu().float().clamp(0, 1)).to(like)
        with torch.inference_mode():
            if isinstance(net, QualityEstimator):
                features = _in_tiles(net.features, one, step, context, like, reached)
                found.append(torch.cat(net.scores_and_kinds(net.judge(features, known)), 1).cpu())
                _check_finite(found[-1], "for a picture", like.dtype)
            else:
                found.append(_in_tiles(lambda part, known=known: net(part, known), one, step, context, like, reached).cpu())
    cells = torch.cat(found)
    scores, kinds = cells[:, :1], cells[:, 1:] if named else None
    scores = without_invisible(scores if named else without_faint_regions(scores), picture)
    return QualityMap(scores, height, width, "embedded", None if kinds is None else without_invisible(kinds, picture))


@float32_default()
def load_assessor(path: Path = SHIPPED_ASSESSOR, operations=nn) -> AssessorNet | QualityEstimator:
    """Return the embedded assessor stored in ``path``, float32 on the CPU, in evaluation mode; raises
    :class:`CheckpointError`.
    """
    if kind_in(path) == QualityEstimator.file_kind:
        return build(path, *read(path, QualityEstimator.file_kind), QualityEstimator, EstimatorConfig, operations)
    return build(path, *read(path, "assessor"), AssessorNet, AssessorConfig, operations)
