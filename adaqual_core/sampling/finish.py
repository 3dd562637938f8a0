"""This module finishes results of the first generation: it corrects detail window by window, then the tone of the whole
picture.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..networks.runner import Runner
from ..networks.tone_grid import sliced, view_of
from ..prompt import Prompt
from .windows import WindowPlan, inner, mask_of, place_of, seen


def finish(
    run: Runner,
    plan: WindowPlan,
    picture: Tensor,
    restored: Tensor,
    prompt: Prompt,
    spare: Tensor,
    advance: Callable[[Tensor], None],
) -> None:
    """Finish ``restored`` [3, H, W], which the sampler made of ``picture``, in place.

    The detail is collected in ``spare`` [3, H', W'], which must be 0 outside the plan's blocks. ``advance(spare)`` is called
    after each run of the network for detail.
    """
    height, width = restored.shape[-2:]
    view = view_of(picture[None], restored[None], prompt.severity)
    grid = run({"view": view}, "the view of the whole picture", "finish.grid")
    for group in plan.groups:
        pictures = {"picture": picture, "restored": restored}
        inputs = {name: torch.stack([seen(one, w) for w in group]) for name, one in pictures.items()}
        found = run(inputs, place_of(group), "finish.detail")
        for w, change in zip(group, found, strict=True):
            spare[:, w.top : w.bottom, w.left : w.right] = inner(change, w).clamp(-1, 1).mul(mask_of(prompt, w))
        advance(spare)
    restored.add_(spare[:, :height, :width]).clamp_(0, 1)
    for w in (w for group in plan.groups for w in group):
        part = restored[:, w.top : w.bottom, w.left : w.right]
        y = (torch.arange(w.top, w.top + part.shape[1]) + 0.5) / height
        x = (torch.arange(w.left, w.left + part.shape[2]) + 0.5) / width
        mask = mask_of(prompt, w)[:, : part.shape[1], : part.shape[2]]
        part.add_(mask * sliced(grid, part[None], y, x)[0]).clamp_(0, 1)
