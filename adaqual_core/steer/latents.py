"""This module puts a quality map on the cells of another model's latent, whatever its scale and number of dimensions."""

from collections.abc import Sequence
from math import isfinite

import torch
import torch.nn.functional as F
from torch import Tensor

from ..alignment import Region, proportional
from ..default_dtype import float32_default
from ..quality.map import QualityMap
from ..quality.placement import map_of_region

CELLS = (4, 8, 16, 32, 64)
"""Px that a latent's cell can be wide and high."""


@float32_default()
def graded(severity: Tensor, low: float, high: float, gamma: float) -> Tensor:
    """Return low + (high − low)·C(s) for severities s in [0, 1] of any shape, with complexity C = s^γ (our definition,
    method.md section 3).

    Raises ValueError for a ``gamma`` that is not above 0, and for numbers that are not finite.
    """
    for name, value in (("low", low), ("high", high), ("gamma", gamma)):
        if not isfinite(value):
            raise ValueError(f"{name}: {value}; give a finite number")
    if gamma <= 0:
        raise ValueError(f"gamma: {gamma}; give a number above 0")
    return low + (high - low) * severity**gamma


def _encoded(size: tuple[int, int], cells: tuple[int, int]) -> Region | None:
    """Return the centre crop of a picture of ``size`` px that ComfyUI's VAE Encode turns into ``cells``; None if it cuts
    nothing off.
    """
    for px in CELLS:
        rest = [side % px for side in size]
        if [side // px for side in size] == list(cells) and any(rest):
            return Region(rest[0] // 2, rest[1] // 2, size[0] - rest[0], size[1] - rest[1])
    return None


@float32_default()
def latent_scores(quality: QualityMap, shape: Sequence[int]) -> Tensor:
    """Return the scores in [1, 5] on the cells of a latent of that ``shape``.

    A latent of pictures [B, C, h, w] gets [B or 1, 1, h, w], one of videos [B, C, T, h, w] gets [B or 1, 1, T or 1, h, w]. One
    map may serve all, or there is one per picture or video; for a single video there may be one per frame, which are averaged
    over the frames of each latent frame. Where VAE Encode cropped the picture around its centre, the map is cropped as well.
    Raises ValueError where numbers or proportions do not fit.
    """
    if len(shape) not in (4, 5):
        raise ValueError(f"latent: shape {tuple(shape)}; only pictures [B, C, h, w] and videos [B, C, T, h, w] have places")
    batch, (height, width) = shape[0], shape[-2:]
    size, cells = (quality.height, quality.width), (height, width)
    crop = _encoded(size, cells)
    if crop is None and not proportional(size, cells):
        raise ValueError(
            f"quality: the map of a {quality.width}×{quality.height} picture does not fit a latent of {width}×{height} cells; "
            "connect the map of the picture that was encoded, with the same proportions"
        )
    if crop is not None:
        quality = map_of_region(quality, crop, round(crop.height), round(crop.width))
    scores = quality.resized(height, width)
    if len(shape) == 4:
        if quality.batch not in (1, batch):
            raise ValueError(f"quality: {quality.batch} maps for {batch} latents; give one map, or one per latent")
        return scores
    if quality.batch in (1, batch):
        return scores[:, :, None]
    if batch == 1 and quality.batch >= shape[2]:
        return _over_time(scores, shape[2])
    raise ValueError(
        f"quality: {quality.batch} maps for {batch} videos of {shape[2]} latent frames; give one map, one per video, "
        "or for a single video one per frame"
    )


def _over_time(scores: Tensor, count: int) -> Tensor:
    """Average the scores of F frames [F, 1, h, w] over ``count`` latent frames, [1, 1, count, h, w].

    Video autoencoders put the first frame alone into the first latent frame, and k frames into each other one. So the scores
    are averaged where F = 1 + k·(count − 1); for other F the frames are divided evenly.
    """
    frames = scores.movedim(1, 0)  # [1, F, h, w]
    if count > 1 and (len(scores) - 1) % (count - 1) == 0:
        groups = frames[:, 1:].unflatten(1, (count - 1, -1)).mean(2)
        return torch.cat((frames[:, :1], groups), 1)[None]
    return F.adaptive_avg_pool3d(frames, (count, frames.shape[-2], frames.shape[-1]))[None]


@float32_default()
def merged(mask: Tensor, earlier: Tensor) -> Tensor:
    """Multiply a new noise mask [B, 1, ...] with one that the latent had already, [H, W], [b, H, W] or [b, 1, ...].

    The earlier mask is resized to the new one. The result is float32 on the CPU. Raises ValueError where B and b differ and
    neither is 1.
    """
    if mask.ndim == 4:
        earlier = earlier.reshape(-1, 1, *earlier.shape[-2:])
        resized = F.interpolate(earlier.float(), mask.shape[-2:], mode="bilinear", align_corners=False)
    else:
        earlier = earlier if earlier.ndim == 5 else earlier.reshape(1, 1, -1, *earlier.shape[-2:])
        frames = max(mask.shape[2], earlier.shape[2])
        resized = F.interpolate(earlier.float(), (frames, *mask.shape[-2:]), mode="trilinear", align_corners=False)
        mask = mask.expand(-1, -1, frames, -1, -1)
    if mask.shape[0] not in (1, resized.shape[0]) and resized.shape[0] != 1:
        raise ValueError(f"latent: its noise mask has {resized.shape[0]} masks beside {mask.shape[0]} quality maps; give one map")
    return mask * resized.to("cpu", torch.float32)
