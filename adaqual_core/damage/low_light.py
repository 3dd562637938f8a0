"""This module darkens pictures without adding noise, from one gain for all pixels to lamps at night and backlit ground.

The noise of dark photos is a kind of damage of its own (``noise.py``): darkness must also be known without it.

Severity (our definition): s = 1 − (light kept), where light kept is the smoothed luma after divided by the smoothed luma before,
over windows of 1/16 of the picture's short side. No generator makes any value of a pixel brighter, so s is 0 exactly where
nothing changed in the whole window.

Sources of ranges: gamma 2-5 (LLNet, Lore et al., 2017; at most 3.5 here), gamma 2-3.5 with a gain (MBLLEN, Lv et al., 2018),
illumination to a power of 2-3 (CDD-11, OneRestore, 2024); LOL (Retinex-Net, Wei et al., 2018), whose dark photos keep about 5 to
20 % of the luma; a few stops of exposure (SICE, Cai et al., 2018); the path through linear light, white balance and tone curve of
CycleISP (Zamir et al., 2020) and of unprocessing (Brooks et al., 2019).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..filters import box_filter, luma, smoothstep
from .draws import Draws
from .fields import (
    axes,
    colour,
    encoded,
    guided_filter,
    linear_light,
    local_mean,
    octave_noise,
    percentiles,
    ramp,
)


def low_light(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Darken a picture with a randomly chosen generator, without noise.

    The function takes a picture [3, H, W] in [0, 1] and the severity asked for, in (0, 1]. It returns the dark picture [3, H, W]
    in [0, 1] and the severity of the darkness at every pixel, [1, H, W] in [0, 1].
    """
    generator = draws.choose(*GENERATORS.values())
    return generator(picture, severity, draws)


def _finish(picture: Tensor, dark: Tensor, severity: float) -> tuple[Tensor, Tensor]:
    """Return the dark picture, nowhere brighter than the picture it was made from, and its severity.

    Tone curves take most from dark parts. Where that exceeds the severity asked for by more than 0.1 (in more than 2 %
    of the pixels), the dark picture is mixed with the picture until it does not; a mixture of tone curves is a tone curve.
    """
    lost = (picture - dark.clamp(0, 1)).clamp_min(0)
    before, less = local_mean(torch.cat((luma(picture), luma(lost))), max(3, min(picture.shape[-2:]) / 16)).split(1)
    done = (less / (before + 1e-3)).clamp(0, 1)
    share = min(1.0, (severity + 0.1) / max(1e-6, percentiles(done, 0.98)[0]))
    return picture - share * lost, share * done


def _kept(severity: float, draws: Draws) -> float:
    """Draw the share of the encoded luma that is kept: 1 at severity 0, about 0.06 at severity 1."""
    return 1 - 0.94 * min(1.0, severity * draws.uniform(0.93, 1.05))


def _cast(draws: Draws, device: torch.device) -> Tensor:
    """Draw the factors [3, 1, 1] of a white balance in linear light, the largest 1: neutral in half of the draws, else off."""
    if draws.chance(0.5):
        return colour(1.0, 1.0, 1.0, device)
    warmth = draws.uniform(-0.3, 0.3)
    gains = (1 + warmth, 1 + draws.uniform(-0.08, 0.08), 1 - warmth)
    return colour(*(gain / max(gains) for gain in gains), device=device)


def _gamma_and_gain(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Apply gain · J^gamma to encoded values; each of the two does a random share of the darkening."""
    kept, share = _kept(severity, draws), draws.choose(0.0, 1.0, draws.uniform(0, 1))
    middle = _shade(picture)
    gamma = min(3.5, 1 + share * math.log(kept) / math.log(middle))
    gain = min(1.0, kept / middle ** (gamma - 1))
    dark = gain * picture.clamp_min(1e-4) ** gamma
    return _finish(picture, dark * _cast(draws, picture.device) ** (1 / 2.2), severity)


def _camera(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Follow a camera's path: linear light, white balance, less exposure, black level, and a tone curve with a toe."""
    toe = draws.choose(0.0, draws.uniform(0.0, 0.06))
    contrast = draws.choose(1.0, draws.uniform(0.85, 1.4))
    black = draws.choose(0.0, draws.log_uniform(2e-4, 4e-3))

    def developed(light):
        value = (light - black).clamp_min(1e-7) ** (contrast / 2.2)
        return value * value / (value + toe)

    middle = torch.tensor(_shade(picture))
    exposure = _solve(lambda gain: float(developed(linear_light(middle) * gain) / middle), _kept(severity, draws))
    return _finish(picture, developed(linear_light(picture) * _cast(draws, picture.device) * exposure), severity)


def _solve(kept: Callable[[float], float], wanted: float) -> float:
    """Find the gain in [2^-12, 4] at which ``kept``, which grows with the gain, is ``wanted``, by bisection of its logarithm."""
    low, high = -12.0, 2.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if kept(2**middle) < wanted else (low, middle)
    return 2 ** ((low + high) / 2)


def _shade(picture: Tensor) -> float:
    """Return the luma at which a tone curve keeps the share drawn: 30 % of the pixels are darker; between 0.12 and 0.6."""
    return min(0.6, max(0.12, percentiles(luma(picture), 0.3)[0]))


def _bright_sky(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Darken the ground before a bright sky or window, for which the camera exposes.

    The bright part is the brightest 15 to 45 % of the picture. Light falls off below it by local brightness, so that edges
    stay where the picture has them, or by each pixel's own brightness, as a camera's contrast curve does.
    """
    kept = _kept(severity, draws)
    height, width = picture.shape[-2:]
    light = luma(picture)
    narrowest = 0.4
    if draws.chance(0.6):
        narrowest = 0.25
        radius = max(2, min(height, width) // draws.choose(10, 20, 40))
        light = guided_filter(light, light, radius, draws.log_uniform(1e-3, 1e-2))
    if draws.chance(0.5):
        y, _ = axes(height, width, picture.device)
        light = light + draws.uniform(0.1, 0.5) * (0.5 - y)
    share = draws.uniform(0.55, 0.85)
    darkest, low, high = percentiles(light, 0.2, share - draws.uniform(0.1, 0.4), min(0.97, share + draws.uniform(0.05, 0.2)))
    low = max(darkest, min(low, high - narrowest))
    bright = smoothstep(min(low, high - 0.15), high, light)
    factor = kept + max(0.0, draws.uniform(0.9, 1.0) - kept) * bright
    steepness = draws.choose(1.0, draws.uniform(1.0, 1.0 + 1.2 * severity))
    shadow = picture.clamp_min(1e-4) ** (1 + (steepness - 1) * (1 - bright))
    shadow = shadow / float(luma(picture).mean().clamp(0.25, 0.6)) ** (steepness - 1)
    return _finish(picture, shadow * factor, severity)


def _retinex(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Raise the illumination to a power (CDD-11): R·L^g, where L is the smoothed brightest channel; dark parts lose most."""
    kept = _kept(severity, draws)
    radius = max(2, min(picture.shape[-2:]) // draws.choose(12, 20, 30))
    brightest = picture.amax(0, keepdim=True)
    light = guided_filter(luma(picture), box_filter(brightest, max(1, radius // 4)), radius).clamp(0.03, 1)
    middle = min(0.75, max(0.15, percentiles(light, 0.3)[0]))
    power = min(3.0, math.log(kept) / math.log(middle))
    gain = kept / middle**power
    return _finish(picture, picture * light**power * gain * _cast(draws, picture.device) ** (1 / 2.2), severity)


def _lamps(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Light a night with one to five lamps: dim, cool ambient light, and pools of mostly warm light that fall off."""
    height, width = picture.shape[-2:]
    y, x = axes(height, width, picture.device)
    ambient = _kept(severity, draws) ** 2.2
    cool = draws.uniform(0.0, 0.25)
    light = ambient * colour(1 - cool, 1 - 0.5 * cool, 1.0, picture.device)
    for _ in range(draws.choose(1, 1, 2, 3, 5)):
        reach = draws.log_uniform(0.08, 0.5)
        dy = (y - draws.uniform(-0.1, 1.1)) * height / min(height, width)
        dx = (x - draws.uniform(-0.1, 1.1)) * width / min(height, width)
        pool = (1 + (dx**2 + dy**2) / reach**2) ** -draws.uniform(1.5, 3.0)
        warm = draws.choose(0.0, draws.uniform(0.0, 0.5))
        light = light + draws.uniform(0.3, 1.0) * (1 - ambient) * pool * colour(1.0, 1 - 0.4 * warm, 1 - warm, picture.device)
    if draws.chance(0.4):  # things that stand in the way
        light = light * (1 - draws.uniform(0.2, 0.7) * octave_noise(height, width, draws, cells=3, octaves=3))
    return _finish(picture, encoded(linear_light(picture) * light.clamp_max(1)), severity)


def _one_side(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Light the scene unevenly, as a window or low sun does: a broad ramp, a wide vignette, or soft large shadows."""
    height, width = picture.shape[-2:]
    shape = draws.choose("ramp", "vignette", "shadows")
    if shape == "ramp":
        angle = draws.uniform(0, 2 * math.pi)
        middle, width_of_edge = draws.uniform(0.3, 0.7), draws.uniform(0.3, 0.8)
        field = ramp(height, width, angle, picture.device)
        lit = smoothstep(middle - width_of_edge / 2, middle + width_of_edge / 2, field)
    elif shape == "vignette":
        y, x = axes(height, width, picture.device)
        away = (y - draws.uniform(0.2, 0.8)) ** 2 + (x - draws.uniform(0.2, 0.8)) ** 2
        lit = 1 - smoothstep(0.0, draws.uniform(0.25, 0.7), away)
    else:
        lit = smoothstep(0.3, 0.7, octave_noise(height, width, draws, cells=draws.choose(1, 2), octaves=2))
    if draws.chance(0.5):
        lit = guided_filter(luma(picture), lit, max(2, min(height, width) // 12), 3e-3).clamp(0, 1)
    kept, bright = _kept(severity, draws) ** 2.2, draws.uniform(1 - 0.6 * severity, 1.0)
    light = kept + max(0.0, bright - kept) * lit
    return _finish(picture, encoded(linear_light(picture) * light * _cast(draws, picture.device)), severity)


GENERATORS = {
    "gamma and gain": _gamma_and_gain,
    "camera": _camera,
    "bright sky": _bright_sky,
    "retinex": _retinex,
    "lamps": _lamps,
    "one side": _one_side,
}
"""The generators of low light by name; :func:`low_light` chooses each equally often."""
