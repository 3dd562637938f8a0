"""This module lays haze over pictures. Its eight generators cover homogeneous haze, distance haze, banks, ground fog,
veils and fog that is lit unevenly.

Severity (our definition): s = 1 − t, where t is the transmission, the share of the scene's light that reaches the camera as it
was; airlight has replaced the rest. s is 0 exactly where t is 1, and there the pixels are untouched.

Sources of ranges: the scattering model I = J·t + A·(1 − t), t = exp(−β·d) (Koschmieder; Narasimhan and Nayar, IJCV 2002); RESIDE
(Li et al., TIP 2019): β 0.6-1.8 and A 0.7-1.0 indoors, β 0.04-0.2 per metre and A 0.8-1.0 outdoors; CDD-11 (OneRestore, ECCV
2024): β 1-2, A 0.6-0.9. Real smog and dusk reach darker and more coloured airlight, so it goes down to 0.45 here.
"""

import math

import torch
from torch import Tensor

from ..filters import gaussian_blur, luma, smoothstep
from .depth import scene_distance, sky
from .draws import Draws
from .fields import axes, colour, encoded, guided_filter, linear_light, octave_noise, percentiles


def haze(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Lay haze from a randomly chosen generator over a picture.

    The function takes a picture [3, H, W] in [0, 1] and the severity asked for, in (0, 1]. It returns the hazy picture [3, H, W]
    in [0, 1] and the severity of the haze at every pixel, [1, H, W] in [0, 1].
    """
    generator = draws.choose(*GENERATORS.values())
    return generator(picture, severity, draws)


def _airlight(picture: Tensor, draws: Draws) -> Tensor:
    """Draw the colour of the airlight [3, 1, 1]: grey, bluish, yellow or with any slight tint, 0.45 to 1.0 bright.

    In a quarter of the draws it has the colour of the picture's own brightest twentieth, which is mostly sky: haze then leaves
    the sky as it is.
    """
    if draws.chance(0.25):
        light = luma(picture)
        brightest = (light >= percentiles(light, 0.95)[0]).float()
        own = (picture * brightest).sum((1, 2), keepdim=True) / brightest.sum()
        grey = own.mean()
        return (grey + draws.uniform(0.3, 1.0) * (own - grey)).clamp(0.45, 1)
    level = draws.uniform(0.7, 1.0) if draws.chance(0.7) else draws.uniform(0.45, 0.8)
    amount = draws.uniform(0.2, 1.0)
    any_tint = tuple(draws.uniform(-0.06, 0.06) for _ in range(3))
    grey, bluish, yellow = (0.0, 0.0, 0.0), (-0.12, -0.02, 0.06), (0.05, 0.0, -0.18)
    shift = draws.choose(grey, grey, grey, bluish, yellow, any_tint)
    return (level + amount * colour(*shift, device=picture.device)).clamp(0, 1)


def lay_over(picture: Tensor, transmission: Tensor, light: Tensor) -> Tensor:
    """Apply the scattering model J·t + A·(1 − t) to encoded values, as RESIDE and CDD-11 do; where t is 1, J stays exact."""
    return picture + (1 - transmission) * (light - picture)


def thin_veil(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, float]:
    """Draw the veil of distant rain or snow, which accounts for 10 to 60 % of a severity in (0, 1].

    Returns the veil's opacity [1, H, W], which is even, grows with distance or drifts, and the severity that is left for streaks
    or flakes, so that 1 − (1 − rest)·(1 − veil's peak) is the severity.
    """
    height, width = picture.shape[-2:]
    share = severity * draws.uniform(0.1, 0.6)
    shape = draws.choose("even", "distance", "drifting")
    if shape == "distance":
        veil = 1 - _transmission(scene_distance(picture, draws), share)
    elif shape == "drifting":
        veil = share * (0.4 + 0.6 * octave_noise(height, width, draws, cells=2, octaves=4))
    else:
        veil = torch.full((1, height, width), share, device=picture.device)
    return veil, 1 - (1 - severity) / (1 - share)


def _peak(severity: float, draws: Draws) -> float:
    """Draw the largest 1 − t of a haze of this severity: it is within 8 % of the severity and at most 0.95."""
    return min(0.95, severity * draws.uniform(0.92, 1.08))


def _transmission(distance: Tensor, peak: float) -> Tensor:
    """Return exp(−β·d) with β chosen so that 1 − t is ``peak`` at distance 1."""
    return torch.exp(math.log(1 - peak) * distance)


def _uneven_light(light: Tensor, picture: Tensor, draws: Draws) -> Tensor:
    """Make the airlight brighter towards a hidden sun in a third of the draws."""
    height, width = picture.shape[-2:]
    if draws.chance(0.67):
        return light
    y, x = axes(height, width, picture.device)
    sun_y, sun_x = draws.uniform(-0.5, 0.6), draws.uniform(-0.2, 1.2)
    glow = torch.exp(-((y - sun_y) ** 2 + (x - sun_x) ** 2) / draws.uniform(0.2, 1.0))
    return (light * (1 - draws.uniform(0.05, 0.3) * (1 - glow))).clamp(0, 1)


def _exposed(hazy: Tensor, opacity: Tensor, most: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Expose the picture, which haze has brightened, for less, as a camera does: by up to ``most`` times its mean opacity.

    Returns the darker picture and the opacity, which is at least 1e-3 because no pixel is left as it was."""
    darker = hazy * (1 - draws.uniform(0.0, most) * opacity.mean())
    return darker, opacity.clamp_min(1e-3)


def _homogeneous(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Lay homogeneous haze over a scene with depth, mixed in encoded values (RESIDE, CDD-11)."""
    distance = scene_distance(picture, draws)
    if draws.chance(0.3):  # a scene that begins some way off, or ends before the air is opaque
        start = draws.uniform(0.0, 0.5)
        distance = start + (1 - start) * distance
    transmission = _transmission(distance, _peak(severity, draws))
    hazy = lay_over(picture, transmission, _uneven_light(_airlight(picture, draws), picture, draws))
    return _exposed(hazy, 1 - transmission, 0.4, draws) if draws.chance(0.25) else (hazy, 1 - transmission)


def _in_linear_light(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Scatter linear light, blue more than red; the camera may expose the brightened scene for less.

    Mixing linear light changes encoded values more than 1 − t says. So s is measured on a mid grey: it is the share of the
    airlight that, mixed in encoded values, would change an encoded 0.35 as much.
    """
    distance = scene_distance(picture, draws)
    light = _airlight(picture, draws).clamp_min(0.55)
    grey = 0.35
    far = float(light.mean())
    peak = _peak(severity, draws)
    mixed = (grey + peak * (far - grey)) ** 2.2
    opacity = (mixed - grey**2.2) / (far**2.2 - grey**2.2)
    blueness = draws.uniform(0.0, 0.25)
    rates = colour(1 - blueness, 1.0, 1 + blueness, picture.device)
    transmission = torch.exp(math.log(1 - opacity) * distance * rates)
    clear = linear_light(picture)
    hazy = encoded(clear + (1 - transmission) * (linear_light(light) - clear))
    seen = (grey**2.2 + (1 - transmission[1:2]) * (far**2.2 - grey**2.2)) ** (1 / 2.2)
    done = ((seen - grey) / (far - grey)).clamp(0, 1)
    if draws.chance(0.4):
        hazy, done = _exposed(hazy, done, 0.3, draws)
        return hazy.clamp(0, 1), done
    return torch.where(transmission == 1, picture, hazy.clamp(0, 1)), done


def _distance_alone(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Leave the foreground clear: haze begins at some distance and thickens quickly behind it."""
    distance = scene_distance(picture, draws, rooms=False)
    if draws.chance(0.5):
        distance = torch.maximum(distance, sky(picture) * draws.uniform(0.8, 1.0))
    begin = draws.uniform(0.25, 0.7)
    far = ((distance - begin) / (1 - begin)).clamp(0, 1)
    far = far ** draws.uniform(0.7, 1.8)
    transmission = _transmission(far, _peak(severity, draws))
    light = _airlight(picture, draws)
    hazy = lay_over(picture, transmission, light)
    if draws.chance(0.3):  # light scattered several times also blurs the distance
        weight = 1 - transmission
        hazy = hazy + weight * (gaussian_blur(hazy, draws.uniform(0.5, 1.5)) - hazy)
    return hazy, 1 - transmission


def _fractal_banks(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Lay drifting fog: its opacity is fractal noise of any roughness over a thin veil, often stretched along the ground."""
    height, width = picture.shape[-2:]
    stretch = draws.choose(1, 1, 2, 4)
    roughness = draws.uniform(0.35, 0.75)
    cells, octaves = draws.choose(1, 2, 3, 5), draws.choose(2, 4, 6, 9)
    field = octave_noise(height * stretch, width, draws, cells=cells * stretch, octaves=octaves, persistence=roughness)
    field = field[:, ::stretch] ** draws.uniform(0.6, 1.8)
    veil = draws.uniform(0.0, 0.6)
    opacity = _peak(severity, draws) * (veil + (1 - veil) * field)
    light = _airlight(picture, draws)
    if draws.chance(0.4):  # thick banks also shade each other
        light = light * (1 - draws.uniform(0.1, 0.5) * octave_noise(height, width, draws, cells=2, octaves=octaves))
    if draws.chance(0.3):
        depth = scene_distance(picture, draws)
        opacity = opacity * (0.3 + 0.7 * depth)
    hazy = lay_over(picture, 1 - opacity, light)
    if draws.chance(0.3):
        hazy, opacity = _exposed(hazy, opacity, 0.4, draws)
    return hazy.clamp(0, 1), opacity


def _soft_banks(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Lay one to six soft banks of fog as Gaussian humps of any place and size, over a thin veil or in clear air."""
    height, width = picture.shape[-2:]
    y, x = axes(height, width, picture.device)
    clear = torch.ones(1, height, width, device=picture.device)
    for _ in range(draws.choose(1, 2, 3, 6)):
        dy = (y - draws.uniform(0, 1)) / draws.log_uniform(0.1, 0.7)
        dx = (x - draws.uniform(0, 1)) / draws.log_uniform(0.15, 1.0)
        clear = clear * (1 - draws.uniform(0.5, 1.0) * torch.exp(-(dx**2) - dy**2))
    banks = 1 - clear
    banks = banks / banks.amax().clamp_min(1e-3)
    if draws.chance(0.5):
        banks = guided_filter(luma(picture), banks, max(2, min(height, width) // 12), 3e-3).clamp(0, 1)
    veil = draws.uniform(0.1, 0.6) if draws.chance(0.6) else 0.0
    opacity = _peak(severity, draws) * (veil + (1 - veil) * banks)
    hazy = lay_over(picture, 1 - opacity, _airlight(picture, draws))
    if draws.chance(0.3):  # light scattered several times also blurs what lies in the bank
        hazy = hazy + opacity * (gaussian_blur(hazy, draws.uniform(0.5, 2.5)) - hazy)
    return hazy, opacity


def _ground_fog(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Lay low fog, whose density falls with height above an uneven line; in some draws it hangs from above as low cloud."""
    height, width = picture.shape[-2:]
    y, _ = axes(height, width, picture.device)
    line = draws.uniform(0.3, 0.8) + draws.uniform(0.0, 0.3) * (octave_noise(height, width, draws, cells=2, octaves=4) - 0.5)
    depth = draws.uniform(0.08, 0.35)
    above = (line - y) if draws.chance(0.7) else (y - 1 + line)
    layer = torch.exp(-above.clamp_min(0) / depth)
    near = draws.uniform(0.3, 1.0)  # the camera may stand above the layer or in it
    layer = layer * (near + (1 - near) * (1 - smoothstep(0.0, 0.5, -above)))
    opacity = _peak(severity, draws) * layer / layer.amax().clamp_min(1e-3)
    return lay_over(picture, 1 - opacity, _airlight(picture, draws)), opacity


def _even_veil(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Lay an almost constant veil, as over a near scene in fog or behind a fogged pane.

    Its opacity reaches 0.86, less than that of other haze, because no part of the picture stays clear."""
    height, width = picture.shape[-2:]
    opacity = torch.full((1, height, width), 0.9 * _peak(severity, draws), device=picture.device)
    if draws.chance(0.5):
        y, x = axes(height, width, picture.device)
        away = (y - draws.uniform(0.2, 0.8)) ** 2 + (x - draws.uniform(0.2, 0.8)) ** 2
        opacity = opacity * (1 - draws.uniform(0.05, 0.35) * away.clamp_max(1))
    hazy = lay_over(picture, 1 - opacity, _uneven_light(_airlight(picture, draws), picture, draws))
    return _exposed(hazy, opacity, 0.4, draws) if draws.chance(0.25) else (hazy, opacity)


def _unevenly_lit(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Lay even haze that some places light brightly and others hardly, as lamps, gaps in the cloud and drifting smoke do.

    How bright the haze is says nothing about how thick it is: only the contrast behind it does."""
    height, width = picture.shape[-2:]
    distance = torch.ones(1, height, width, device=picture.device)
    if draws.chance(0.3):
        distance = 0.5 + 0.5 * scene_distance(picture, draws)
    transmission = _transmission(distance, _peak(severity, draws))
    field = octave_noise(height, width, draws, cells=draws.choose(1, 1, 2, 3), octaves=6, persistence=draws.uniform(0.3, 0.7))
    darkest = draws.uniform(0.1, 0.7)
    light = _airlight(picture, draws) * (darkest + (1 - darkest) * field)
    hazy = lay_over(picture, transmission, light)
    if draws.chance(0.3):  # a long path scatters light more than once, which blurs
        hazy = hazy + (1 - transmission) * (gaussian_blur(hazy, draws.uniform(0.5, 2.5)) - hazy)
    return hazy, 1 - transmission


GENERATORS = {
    "homogeneous": _homogeneous,
    "in linear light": _in_linear_light,
    "distance alone": _distance_alone,
    "fractal banks": _fractal_banks,
    "soft banks": _soft_banks,
    "ground fog": _ground_fog,
    "even veil": _even_veil,
    "unevenly lit": _unevenly_lit,
}
"""The generators of haze by name; :func:`haze` chooses each equally often."""
