"""This module averages what decides brightness and colour of a frame over a window of frames before it (our definition).

A network that judges every frame by itself gives a slightly different quality, kind of damage and tone for each, and the
restored clip flickers. Here these are replaced by their mean over the last ``temporal`` frames of the shot, the frame itself
included. No later frame is needed, so a stream can be restored while it is read.

- At a cut the window starts anew: nothing of one shot reaches into the next.
- While the exposure changes (a fade, a ramp, a flash), no damage is found that was not found before, only less of it: to a
  network that sees one frame a fade is a dark picture, and it would brighten it and let go again. A shot that begins with a blank
  frame begins without damage. Where a map names kinds of damage, this holds for darkness and haze alone.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..grid import HIGHEST, LOWEST, severity_of
from ..kinds import KINDS, TONAL
from ..networks.bilateral_grid import view_of
from ..prompt import Prompt, asked_damage
from ..quality.map import QualityMap, resampled
from ..visible import filled

LONGEST = 240
"""The largest ``temporal``, in frames."""

_ROWS, _COLUMNS, _SHIFT = 18, 32, 3
_ALIKE, _CHANGED, _LEAST_CHANGED, _JUMP = 0.6, 0.04, 0.003, 0.15
_BLANK, _LEAST_BLANK, _STEADY, _EXPLAINED = 0.01, 0.002, 0.002, 0.8
_DARK, _DIM = 0.2, 0.4
_TONAL = torch.tensor([kind in TONAL for kind in KINDS])


@dataclass(frozen=True)
class Memory:
    """This class holds what is remembered of a shot: a ``thumbnail`` [3, 18, 32] of its newest frame, and in ``frames`` the
    tensors that are averaged. ``frames`` has one tuple for each of the last frames, at most ``temporal`` of them, the oldest
    first.
    """

    thumbnail: Tensor
    frames: tuple[tuple[Tensor, ...], ...]


def check_temporal(temporal: int) -> None:
    """Raise ValueError unless ``temporal`` is a number of frames from 0 (every frame by itself) to LONGEST."""
    if not 0 <= temporal <= LONGEST:
        raise ValueError(f"temporal: {temporal}; give 0 (every frame by itself) to {LONGEST} frames")


def thumbnail(picture: Tensor) -> Tensor:
    """Return the mean colours [3, 18, 32] of one picture [1, 3 or 4, H, W]."""
    return F.adaptive_avg_pool2d(colours_of(picture), (_ROWS, _COLUMNS))[0]


def colours_of(picture: Tensor) -> Tensor:
    """Return the colours [1, 3, H, W] in [0, 1] of a picture [1, 3 or 4, H, W]; invisible ones are those around them."""
    return filled(picture)[:, :3].detach().cpu().float().clamp(0, 1)


def _correlation(a: Tensor, b: Tensor) -> float:
    """Return the correlation of two equally large tensors, or 0 where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    power = float(a.square().mean() * b.square().mean())
    return float((a * b).mean()) / power**0.5 if power > 1e-14 else 0.0


def is_cut(before: Tensor, after: Tensor) -> bool:
    """Return whether a new shot begins between two neighbouring frames, each given as its :func:`thumbnail` (our definition).

    There is a cut where the colours differ by more than 0.04 on average and the frames are not alike: no shift by up to a tenth
    of the sides makes them correlate by 0.6. Of frames darker than 0.2 on average a proportionally smaller difference is enough,
    down to 0.003. A fade, a flash of light and a change of exposure leave the correlation high, and a
    pan is undone by the shift. A blank frame correlates with none: it begins or ends a shot where the colours differ by more than
    0.15 on average; less is a fade.
    """
    change = float((before - after).abs().mean())
    if is_blank(before) or is_blank(after):
        return change > _JUMP
    if change <= max(_LEAST_CHANGED, _CHANGED * min(1.0, float(torch.maximum(before.mean(), after.mean())) / _DARK)):
        return False
    inner = after[:, _SHIFT : _ROWS - _SHIFT, _SHIFT : _COLUMNS - _SHIFT]
    rows, columns = inner.shape[1:]
    shifted = (before[:, y : y + rows, x : x + columns] for y in range(2 * _SHIFT + 1) for x in range(2 * _SHIFT + 1))
    return all(_correlation(one, inner) < _ALIKE for one in shifted)


def is_blank(thumb: Tensor) -> bool:
    """Return whether a frame, given as its :func:`thumbnail`, shows one colour only, so that nothing can be judged from it (our
    definition).

    It does where its colours differ from their means by less than 0.01 on average. Of a frame darker than 0.4 on average, they
    must differ by proportionally less, down to 0.002: a scene at night is not blank.
    """
    deviation = float((thumb - thumb.mean((1, 2), keepdim=True)).abs().mean())
    return deviation < max(_LEAST_BLANK, _BLANK * min(1.0, float(thumb.mean()) / _DIM))


def is_fading(before: Tensor, after: Tensor) -> bool:
    """Return whether the exposure changes between two neighbouring frames, each given as its :func:`thumbnail` (our definition).

    It does where the colours differ by more than 0.002 on average, and one factor and one offset for the whole frame explain 80 %
    of the squared difference. Motion changes some places and not others, which no factor explains.
    """
    change = after - before
    if float(change.abs().mean()) <= _STEADY:
        return False
    centred, wanted = before - before.mean(), after - after.mean()
    factor = (centred * wanted).sum() / centred.square().sum().clamp_min(1e-6)
    left = (wanted - factor * centred).square().sum()
    return float(left) <= (1 - _EXPLAINED) * float(change.square().sum())


Tensors = tuple[Tensor, ...]
"""What is averaged of one frame: scores and kinds of its map, or mask, statistics and view of its prompt."""


def remember(
    memory: Memory | None,
    picture: Tensor,
    parts: Tensors,
    temporal: int,
    unknown: Tensors,
    fading: Callable[[Tensors, Tensors, bool], Tensors],
) -> tuple[Tensors, Memory]:
    """Return the means of ``parts`` over the window that ends with ``picture`` [1, 3 or 4, H, W], and the memory for the next
    frame.

    ``memory`` is that of the frame before, None for the first. ``temporal`` is at least 1. A shot begins with a window that is
    full of its first frame, or of ``unknown`` where that is blank: the second frame counts as little as every later one. While
    the exposure changes, ``fading`` (means before, parts now, whether it becomes darker) gives what the window takes in.
    """
    seen = thumbnail(picture)
    if memory is None or is_cut(memory.thumbnail, seen):
        first = unknown if is_blank(seen) else parts
        return first, Memory(seen, (first,) * temporal)
    frames = memory.frames
    if is_blank(seen) or is_fading(memory.thumbnail, seen):
        parts = fading(_means(frames), parts, bool(seen.mean() < memory.thumbnail.mean()))
    frames = (*frames[1:], parts)
    return _means(frames), Memory(seen, frames)


def _means(frames: tuple[Tensors, ...]) -> Tensors:
    """Return the mean of each part over the frames."""
    return tuple(torch.stack(same).mean(0) for same in zip(*frames, strict=True))


def _least_damage(before: Tensors, now: Tensors, darker: bool) -> Tensors:
    """Return the better score of ``before`` and ``now`` at each place."""
    return (torch.maximum(before[0], now[0]),)


def _least_tone(before: Tensors, now: Tensors, darker: bool) -> Tensors:
    """Return the scores and kinds of ``now``, with no more low light and haze than ``before``."""
    severity, others = asked_damage(severity_of(now[0]), now[1], (~_TONAL)[None].float())
    tone = torch.where(_TONAL[None, :, None, None], torch.minimum(before[1], now[1]), 0.0)
    clean = (1 - severity) * (1 - tone).prod(1, keepdim=True)
    return 1 + 4 * torch.maximum(clean, (now[0] - 1) / 4), others + tone


def _brightest(before: Tensors, now: Tensors, darker: bool) -> Tensors:
    """Return the restore mask of ``now``, and the other parts from ``before`` if the picture becomes darker, otherwise from
    ``now``.
    """
    return (now[0], *(before if darker else now)[1:])


def steady_map(memory: Memory | None, picture: Tensor, quality: QualityMap, temporal: int) -> tuple[QualityMap, Memory | None]:
    """Return the quality map of one frame [1, 3 or 4, H, W] with scores and kinds averaged over its window, and the memory for
    the next frame.

    ``memory`` and ``temporal`` are as for :func:`remember`, except that ``temporal`` 0 is allowed: the map is then returned
    unchanged.
    """
    if temporal == 0:
        return quality, None
    if quality.kinds is None:
        best = (torch.full_like(quality.scores, HIGHEST),)
        (scores,), memory = remember(memory, picture, (quality.scores,), temporal, best, _least_damage)
        return replace(quality, scores=scores.clamp(LOWEST, HIGHEST)), memory
    parts = (resampled(quality.scores, *quality.kinds.shape[-2:]), quality.kinds)
    best = (torch.full_like(parts[0], HIGHEST), torch.zeros_like(parts[1]))
    (scores, kinds), memory = remember(memory, picture, parts, temporal, best, _least_tone)
    return replace(quality, scores=scores.clamp(LOWEST, HIGHEST), kinds=kinds.clamp(0, 1)), memory


def steady_prompt(memory: Memory | None, picture: Tensor, prompt: Prompt, temporal: int) -> tuple[Prompt, Memory | None]:
    """Return the prompt of one frame [1, 3 or 4, H, W] with what it says of the whole picture averaged over the window, and the
    memory for the next frame.

    The averaged parts are the global statistics and, where the prompt names kinds of damage, the view from which the bilateral
    grid is predicted. The restore mask is averaged too, because it turns from 0 to 1 within a small change of quality; where
    an artist painted it, it stays as it is. Severity and kinds follow from the map. ``memory`` and ``temporal`` are as for
    :func:`steady_map`.
    """
    if temporal == 0:
        return prompt, None
    parts = (prompt.restore_mask, prompt.statistics)
    if prompt.kinds is not None:
        parts = (*parts, view_of(colours_of(picture), prompt.severity, prompt.kinds))
    (mask, statistics, *views), memory = remember(memory, picture, parts, temporal, parts, _brightest)
    if prompt.quality.drawn is not None:
        mask = torch.lerp(mask, prompt.restore_mask, resampled(prompt.quality.drawn, *mask.shape[-2:]))
    return replace(prompt, restore_mask=mask, statistics=statistics, view=views[0] if views else None), memory


def steady_maps(pictures: Iterable[Tensor], maps: Iterable[QualityMap], temporal: int) -> Iterator[QualityMap]:
    """Yield the result of :func:`steady_map` for all frames of a clip in their order.

    Raises what :func:`check_temporal` raises.
    """
    check_temporal(temporal)
    memory = None
    for picture, quality in zip(pictures, maps, strict=True):
        steady, memory = steady_map(memory, picture, quality, temporal)
        yield steady


def steady_prompts(pictures: Iterable[Tensor], prompts: Iterable[Prompt], temporal: int) -> Iterator[Prompt]:
    """Yield the result of :func:`steady_prompt` for all frames of a clip in their order.

    Raises what :func:`check_temporal` raises.
    """
    check_temporal(temporal)
    memory = None
    for picture, prompt in zip(pictures, prompts, strict=True):
        steady, memory = steady_prompt(memory, picture, prompt, temporal)
        yield steady
