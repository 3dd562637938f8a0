"""The kinds of networks that restore, behind one call: each with its sampler and the settings it is made for."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..networks.adaqual_diff import OfficialNet
from ..networks.denoiser import Denoiser
from ..networks.restorer import Restorer as SecondRestorer
from ..networks.weather_diffusion import WeatherNet
from ..prompt import Prompt
from ..visible import filled, put_back
from . import patches
from . import regions as whole
from .patches import restore_patches
from .regions import restore_whole
from .restore import restore
from .settings import Progress, Restored, RestoreSettings
from .toned import restore_toned

Restorer = SecondRestorer | Denoiser | OfficialNet | WeatherNet


@dataclass(frozen=True)
class Family:
    """``own``: the settings that such networks are made for; ``restore``: their sampler, called as restore.restore."""

    title: str
    own: RestoreSettings
    restore: Callable[..., Restored]


FAMILIES: dict[type, Family] = {
    SecondRestorer: Family("AdaQual preset", RestoreSettings(), restore_toned),
    Denoiser: Family("AdaQual preset", RestoreSettings(), restore),
    OfficialNet: Family("AdaQual-Diff, official layout", whole.PUBLISHED, restore_whole),
    WeatherNet: Family("WeatherDiffusion", patches.PUBLISHED, restore_patches),
}


def settings_for(model: Restorer, **given) -> RestoreSettings:
    """The settings that ``model`` is made for, with those ``given`` that are not None; ValueError for impossible ones."""
    return replace(FAMILIES[type(model)].own, **{name: value for name, value in given.items() if value is not None})


def working_memory(model: Restorer, settings: RestoreSettings, height: int, width: int) -> float:
    """Bytes of work beside the weights for one picture; the numbers per px are measured (at the published widths)."""
    size = next(model.parameters()).element_size()
    if isinstance(model, WeatherNet):
        return 16 * model.config.first * size * settings.patch_batch * model.config.patch**2
    if isinstance(model, OfficialNet):
        return 8 * model.config.width * size * min(height * width, (whole.WHOLE * settings.tile) ** 2)
    if isinstance(model, SecondRestorer):
        side = settings.tile + 2 * max(settings.overlap, model.denoiser.receptive_radius)
        return 3 * (81 + 4 * model.config.widths[0]) / 4 * size * settings.tile_batch * side**2
    side = settings.tile + 2 * max(settings.overlap, model.receptive_radius)
    return 18 * model.config.widths[0] / model.config.unshuffle**2 * size * settings.tile_batch * side**2


def restore_with(
    model: Restorer,
    picture: Tensor,
    prompt: Prompt,
    settings: RestoreSettings | None = None,
    *,
    dtype: torch.dtype | None = None,
    progress: Progress | None = None,
) -> Restored:
    """Restore as :func:`restore.restore` does, with a network of any family and, by default, its own settings.

    No network sees colours under an alpha of 0. They, values beyond [0, 1] in kept places, and greyness come through.
    """
    family = FAMILIES[type(model)]
    restored = family.restore(model, filled(picture), prompt, settings or family.own, dtype=dtype, progress=progress)
    put_back(restored.picture, picture)
    return restored
