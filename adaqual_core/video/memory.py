"""A window of frames: what decides brightness and colour of a frame is averaged over the frames before it (our definition).

A network that judges every frame by itself gives a slightly different quality, kind of damage and tone for each, and the
restored clip flickers. Here these are replaced by their mean over the last ``temporal`` frames of the shot, the frame itself
included. No later frame is needed, so a stream can be restored while it is read. At a cut the window starts anew, filled with
the first frame of the new shot: nothing of one shot reaches into the next, and a change inside a shot takes effect evenly over
``temporal`` frames.

The window is finite. A frame's result depends on the shot's last 2·``temporal`` frames alone, so that a clip can be cut into
blocks that are restored separately.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..networks.bilateral_grid import view_of
from ..prompt import Prompt
from ..quality.map import QualityMap

LONGEST = 240
"""The largest ``temporal``, in frames."""

_ROWS, _COLUMNS, _SHIFT = 18, 32, 3
_ALIKE, _CHANGED = 0.5, 0.04


@dataclass(frozen=True)
class Memory:
    """What is remembered of a shot: a ``thumbnail`` [3, 18, 32] of its newest frame, and the tensors that are averaged, one tuple
    for each of the last ``temporal`` frames, the oldest first."""

    thumbnail: Tensor
    frames: tuple[tuple[Tensor, ...], ...]


def check_temporal(temporal: int) -> None:
    """Raise ValueError unless ``temporal`` is a number of frames from 0 (every frame by itself) to LONGEST."""
    if not 0 <= temporal <= LONGEST:
        raise ValueError(f"temporal: {temporal}; give 0 (every frame by itself) to {LONGEST} frames")


def thumbnail(picture: Tensor) -> Tensor:
    """Mean colours [3, 18, 32] of one picture [1, 3 or 4, H, W]."""
    return F.adaptive_avg_pool2d(picture[:, :3].detach().cpu().float().clamp(0, 1), (_ROWS, _COLUMNS))[0]


def _correlation(a: Tensor, b: Tensor) -> float:
    """The correlation of two equally large tensors; 0 where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    power = float(a.square().mean() * b.square().mean())
    return float((a * b).mean()) / power**0.5 if power > 1e-10 else 0.0


def is_cut(before: Tensor, after: Tensor) -> bool:
    """Whether a new shot begins between two neighbouring frames, given as :func:`thumbnail` (our definition).

    There is a cut where the colours differ by more than 0.04 on average and the frames are not alike: no shift by up to a tenth
    of the sides makes them correlate by 0.5. A fade, a flash of light and a change of exposure leave the correlation high, and a
    pan is undone by the shift.
    """
    if float((before - after).abs().mean()) <= _CHANGED:
        return False
    inner = after[:, _SHIFT : _ROWS - _SHIFT, _SHIFT : _COLUMNS - _SHIFT]
    rows, columns = inner.shape[1:]
    shifted = (before[:, y : y + rows, x : x + columns] for y in range(2 * _SHIFT + 1) for x in range(2 * _SHIFT + 1))
    return all(_correlation(one, inner) < _ALIKE for one in shifted)


def remember(
    memory: Memory | None, picture: Tensor, parts: tuple[Tensor, ...], temporal: int
) -> tuple[tuple[Tensor, ...], Memory]:
    """The means of ``parts`` over the window that ends with ``picture`` [1, 3 or 4, H, W], and the memory for the next frame.

    ``memory`` is that of the frame before, None for the first. ``temporal`` is at least 1; with 1 the parts come back as given.
    """
    seen = thumbnail(picture)
    if memory is None or is_cut(memory.thumbnail, seen):
        frames = (parts,) * temporal
    else:
        frames = (*memory.frames, parts)[-temporal:]
    means = tuple(torch.stack(same).mean(0) for same in zip(*frames, strict=True))
    return means, Memory(seen, frames)


def steady_map(memory: Memory | None, picture: Tensor, quality: QualityMap, temporal: int) -> tuple[QualityMap, Memory | None]:
    """The quality map of one frame [1, 3 or 4, H, W] with scores and kinds averaged over its window; as :func:`remember`.

    With ``temporal`` 0 the map comes back as it is.
    """
    if temporal == 0:
        return quality, None
    parts = (quality.scores,) if quality.kinds is None else (quality.scores, quality.kinds)
    means, memory = remember(memory, picture, parts, temporal)
    return replace(quality, scores=means[0].clamp(1, 5), kinds=means[1].clamp(0, 1) if len(means) > 1 else None), memory


def steady_prompt(memory: Memory | None, picture: Tensor, prompt: Prompt, temporal: int) -> tuple[Prompt, Memory | None]:
    """The prompt of one frame [1, 3 or 4, H, W] with what it says of the whole picture averaged over the window.

    That are the global statistics and, where the prompt names kinds of damage, the view from which the bilateral grid is
    predicted. Severity, kinds and restore mask stay as they are: they follow from the map. As :func:`remember`; with ``temporal``
    0 the prompt comes back as it is.
    """
    if temporal == 0:
        return prompt, None
    parts = (prompt.statistics,)
    if prompt.kinds is not None:
        colours = picture[:, :3].detach().cpu().float().clamp(0, 1)
        parts = (prompt.statistics, view_of(colours, prompt.severity, prompt.kinds))
    means, memory = remember(memory, picture, parts, temporal)
    return replace(prompt, statistics=means[0], view=means[1] if len(means) > 1 else None), memory
