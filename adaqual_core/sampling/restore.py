"""This module goes from a picture and its prompt to the restored picture, with a network of any family.

What differs between families is how the estimate of the whole picture is assembled from what the network predicts: in exact
windows, damaged regions or averaged patches.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn as nn
from torch import Tensor

from ..default_dtype import float32_default
from ..networks.family import Family, Told
from ..networks.registry import family_of
from ..networks.runner import Runner
from ..prompt import Prompt
from ..visible import filled, put_back
from .ddim import ddim, timesteps
from .patches import PatchPlan, averaged_patches
from .regions import damaged_regions
from .settings import Progress, Restored, RestoreSettings, check_inputs, counted, draw_noise, settings_for, small
from .windows import WindowPlan, exact_windows

Plan = WindowPlan | PatchPlan

TILINGS: dict[str, Callable[[Runner, RestoreSettings, Prompt], Plan]] = {
    "windows": exact_windows,
    "regions": damaged_regions,
    "patches": averaged_patches,
}
"""The functions that plan one picture's windows or patches from its prompt, by the name that a :class:`Family` states."""


def _change(family: Family, x0: Tensor, base: Tensor) -> Tensor:
    """Return what is added to ``base`` [3, H, W] according to the estimate ``x0``, which may reach beyond it."""
    x0 = x0[:, : base.shape[-2], : base.shape[-1]]
    return (x0 + 1) / 2 - base if family.space == "image" else x0


def restore_picture(
    run: Runner,
    plan: Plan,
    told: Told,
    picture: Tensor,
    prompt: Prompt,
    settings: RestoreSettings,
    advance: Callable[[Callable[[], Tensor]], None],
) -> Tensor:
    """Return one picture [3, H, W] in [0, 1] restored by the prompt of that one picture.

    ``told``: what :attr:`Family.told` gives for it. ``advance(preview)`` is called after each run of the network.
    """
    family, strength = family_of(run.model), settings.strength

    def show(x0: Tensor) -> None:
        def preview() -> Tensor:
            shown = small(told.base) + small(_change(family, x0, told.base))
            return torch.lerp(small(picture), shown.clamp(0, 1), strength).clamp(0, 1)

        advance(preview)

    def noise(index: int) -> Tensor:
        return draw_noise(plan.shape, run.model.config.noise_scale, settings.seed, index)

    predict = plan.predictor(run, told, prompt, show)
    steps = timesteps(settings.schedule, settings.steps)
    x0 = ddim(predict, noise(0), steps, eta=settings.eta, fresh_noise=lambda index: noise(index + 1))
    change = _change(family, x0, told.base)
    if family.space == "image":  # what is kept must not be rounded on the way from image to change and back
        change = torch.where(prompt.pixel_mask(0) > 0, change, 0)
    restored = torch.add(told.base, change).clamp_(0, 1)
    return torch.lerp(picture, restored, strength, out=restored).clamp_(0, 1)


@float32_default()
def restore(
    model: nn.Module,
    picture: Tensor,
    prompt: Prompt,
    settings: RestoreSettings | None = None,
    *,
    dtype: torch.dtype | None = None,
    progress: Progress | None = None,
) -> Restored:
    """Restore ``picture`` [B, 3 or 4, H, W] in [0, 1] as ``prompt`` asks; alpha is carried through unchanged.

    ``model``: what :func:`published.read.load_restorer` gives; ``settings``: by default those that it is made for. Runs on the
    device of the model's weights, in ``dtype`` (theirs where not given), one picture at a time. The noise of every picture is
    drawn from the seed on the CPU: a frame's result does not depend on its batch. Where the prompt's restore mask is 0 pixels
    return unchanged, also beyond [0, 1]; but if low light or haze is to go and no artist painted the map, the tone of our presets
    follows the picture beyond the mask, by up to a quarter of its sides (:mod:`networks.tone`). No network sees colours under an
    alpha of 0, and grey pictures stay grey.

    ``progress(done, total, preview)`` is called after every run of the network; what it raises cancels. Raises ValueError for bad
    input before any work, :class:`NumericalError` if the network gives NaN.
    """
    family, settings, run = family_of(model), settings or settings_for(model), Runner(model, dtype)
    check_inputs(picture, prompt, family.needs_kinds)
    if settings.strength == 0:
        prompt = replace(prompt, restore_mask=torch.zeros_like(prompt.restore_mask), painted=None, said=None)
    prompts = [prompt.index(i) for i in range(len(picture))]
    plans = [TILINGS[family.tiling](run, settings, one) for one in prompts]
    advance = counted(progress, settings.steps * sum(plan.runs for plan in plans))
    visible, result = filled(picture), torch.empty(picture.shape, dtype=torch.float32)
    for index, (plan, one) in enumerate(zip(plans, prompts, strict=True)):
        result[index] = visible[index].detach()
        source = result[index, :3].clamp_(0, 1)
        if plan.runs:
            source.copy_(restore_picture(run, plan, family.told(run, source, one), source, one, settings, advance))
    put_back(result, picture)
    return Restored(result, sum(plan.tiles_total for plan in plans), sum(plan.tiles_run for plan in plans))
