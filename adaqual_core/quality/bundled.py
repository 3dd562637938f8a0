"""This module makes quality maps with the embedded assessor, :mod:`adaqual_core.quality.estimator` (our definition).

Pictures of any size are worked through in tiles, and a map made in tiles equals the map of the whole picture.
"""

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn as nn
from torch import Tensor

from ..checks import check_picture
from ..default_dtype import float32_default
from ..errors import NumericalError
from ..grid import CELL, cell_count, mirrored, quality_of, severity_of
from ..image_statistics import levels_and_detail
from ..kinds import KINDS
from ..visible import filled, without_invisible
from ..weight_files import WEIGHTS, build, read
from .estimator import EstimatorConfig, QualityEstimator
from .haze_judgement import correct_haze
from .map import QualityMap

SHIPPED_ASSESSOR = WEIGHTS / "adaqual_assessor.safetensors"


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
    net: QualityEstimator,
    picture: Tensor,
    *,
    tile: int = 1024,
    dtype: torch.dtype | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> QualityMap:
    """Return the quality map of pictures [B, 3 or 4, H, W] in [0, 1], made one picture and one tile at a time. Alpha only says
    what is invisible.

    Runs on the device of the network's weights, in ``dtype`` (theirs where not given). Tiles of ``tile`` px see the network's
    receptive field around them, so the map does not depend on them. ``progress(done, total)`` is called after each; what it
    raises cancels. Raises ValueError for bad input before any work.
    """
    if tile < CELL:
        raise ValueError(f"tile: {tile}; give at least {CELL} px (1024 suits most machines)")
    check_picture(picture)
    picture = filled(picture)
    like = next(net.parameters())
    like = like.new_empty(0, dtype=dtype or like.dtype)
    height, width = picture.shape[-2:]
    step, context = tile // CELL, net.receptive_radius // CELL
    steps = len(picture) * math.ceil(cell_count(height) / step) * math.ceil(cell_count(width) / step)
    done = itertools.count(1)

    def reached() -> None:
        if progress is not None:
            progress(next(done), steps)

    found = []
    for one in picture[:, :3].split(1):
        known = levels_and_detail(one.cpu().float().clamp(0, 1)).to(like)
        with torch.inference_mode():
            features = _in_tiles(net.features, one, step, context, like, reached)
            found.append(torch.cat(net.scores_and_kinds(net.judge(features, known)), 1).cpu())
        _check_finite(found[-1], "for a picture", like.dtype)
    scores, kinds = (without_invisible(part, picture) for part in torch.cat(found).split([1, len(KINDS)], 1))
    severity, kinds = correct_haze(severity_of(scores), kinds)
    return QualityMap(quality_of(severity), height, width, "embedded", kinds)


@float32_default()
def load_assessor(path: Path = SHIPPED_ASSESSOR, operations=nn) -> QualityEstimator:
    """Return the embedded assessor stored in ``path``, float32 on the CPU, in evaluation mode; raises
    :class:`CheckpointError`.
    """
    return build(path, *read(path, QualityEstimator.file_kind), QualityEstimator, EstimatorConfig, operations)
