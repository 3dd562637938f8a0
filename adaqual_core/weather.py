"""Weather and light: low light, haze, rain, snow and raindrops (method.md section 6, after OneRestore's CDD-11).

Every function takes a picture [3, H, W] in [0, 1], a severity in (0, 1] and a ``torch.Generator``, draws one of
several generators of its kind and returns a picture of the same shape. Ranges are the published ones where there
are any; how severity selects a point in them is our definition.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .fields import (
    box_filter,
    choose,
    convolve,
    disk_kernel,
    gaussian_blur,
    guided_filter,
    line_kernel,
    octave_noise,
    ramp,
    uniform,
)


def _luma(picture: Tensor) -> Tensor:
    return (picture * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0, keepdim=True)


def _randn(shape, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator)


def low_light(picture: Tensor, severity: float, generator: torch.Generator) -> Tensor:
    """Low light: light map to a power, gamma with gain, or fewer photons in linear light; each with sensor noise."""
    mode = choose(generator, "light map", "gamma", "exposure")
    if mode == "light map":
        light = picture.amax(0, keepdim=True)
        radius = max(2, min(picture.shape[-2:]) // 30)
        light = guided_filter(_luma(picture), box_filter(light, radius), radius).clamp(0.02, 1)
        dark = picture * light ** (2 * severity * uniform(generator, 0.8, 1.2))
    elif mode == "gamma":
        dark = picture.clamp_min(1e-4) ** (1 + 2 * severity * uniform(generator, 0.6, 1.1))
        dark = dark * (1 - severity * uniform(generator, 0.0, 0.4))
    else:
        stops = 4 * severity * uniform(generator, 0.7, 1.1)
        dark = (picture.clamp_min(1e-4) ** 2.2 * 2**-stops).clamp_min(1e-5) ** (1 / 2.2)
    if choose(generator, True, False):
        tint = torch.tensor([uniform(generator, -1, 1) for _ in range(3)]).view(3, 1, 1)
        dark = dark * (1 + 0.1 * severity * tint)
    noise = 0.08 * severity * uniform(generator, 0.0, 1.0) ** 2
    shot = 0.03 * severity * uniform(generator, 0.0, 1.0) * dark.clamp_min(0).sqrt()
    return (dark + (noise + shot) * _randn(picture.shape, generator)).clamp(0, 1)


def pseudo_depth(picture: Tensor, generator: torch.Generator) -> Tensor:
    """Plausible nearness d [1, H, W] in [0, 1] (1 = near) without a depth sensor: horizon, tilted plane, octave noise."""
    height, width = picture.shape[-2:]
    mode = choose(generator, "horizon", "plane", "noise", "flat")
    noise = octave_noise(height, width, generator, cells=2, octaves=4)
    if mode == "horizon":
        y = torch.linspace(0, 1, height).view(1, -1, 1).expand(1, height, width)
        horizon = uniform(generator, 0.1, 0.6)
        depth = ((y - horizon) / (1 - horizon)).clamp(0, 1)
    elif mode == "plane":
        depth = ramp(height, width, uniform(generator, 0, 2 * math.pi))
    elif mode == "flat":
        return torch.full((1, height, width), uniform(generator, 0.0, 0.5))
    else:
        depth = noise
    depth = depth * uniform(generator, 0.7, 1.0) + noise * uniform(generator, 0.0, 0.3)
    return guided_filter(_luma(picture), depth, max(2, min(height, width) // 16)).clamp(0, 1)


def fog_banks(height: int, width: int, generator: torch.Generator) -> Tensor:
    """Fog's opacity [1, H, W] in [0, 1], at most 1 somewhere: drifting octave noise, or 1-6 soft banks in a thin veil."""
    veil = uniform(generator, 0.0, 0.5)
    if choose(generator, True, False):
        field = octave_noise(height, width, generator, cells=choose(generator, 1, 2, 4), octaves=choose(generator, 2, 4, 7))
    else:
        y, x = torch.linspace(0, 1, height).view(1, -1, 1), torch.linspace(0, 1, width).view(1, 1, -1)
        field = torch.zeros(1, height, width)
        for _ in range(choose(generator, 1, 3, 6)):
            dy = (y - uniform(generator, 0, 1)) / uniform(generator, 0.15, 0.6)
            dx = (x - uniform(generator, 0, 1)) / uniform(generator, 0.15, 0.6)
            field = field + torch.exp(-(dx**2 + dy**2)) * uniform(generator, 0.5, 1.0)
        field = field / field.max().clamp_min(1)
    return veil + (1 - veil) * field


def haze(picture: Tensor, severity: float, generator: torch.Generator) -> Tensor:
    """Haze I = J·t + A(1−t), t = exp(−min(1−d, 0.7)·β): depth haze, even fog, drifting fog, or banks of free shape, grey to
    white, often tinted, at times of uneven brightness, at times darker for the light that fog keeps off."""
    height, width = picture.shape[-2:]
    airlight = torch.full((3, 1, 1), uniform(generator, 0.6, 1.0))
    if choose(generator, True, False):
        airlight = airlight + 0.06 * torch.tensor([uniform(generator, -1, 1) for _ in range(3)]).view(3, 1, 1)
    if choose(generator, True, False, False):
        transmission = 1 - severity * uniform(generator, 0.5, 1.0) * fog_banks(height, width, generator)
    else:
        depth = pseudo_depth(picture, generator)
        transmission = torch.exp(-(1 - depth).clamp_max(0.7) * 2.2 * severity * uniform(generator, 0.8, 1.2))
    if choose(generator, True, False, False):
        drift = octave_noise(height, width, generator, cells=3, octaves=4)
        transmission = transmission * (1 - 0.5 * severity * drift)
    if choose(generator, True, False, False):
        clouds = octave_noise(height, width, generator, cells=2, octaves=choose(generator, 3, 5, 8))
        airlight = airlight * (1 - uniform(generator, 0.2, 0.8) * clouds)
    hazy = picture * transmission + airlight * (1 - transmission)
    if choose(generator, True, False, False, False):
        hazy = hazy * (1 - severity * uniform(generator, 0.1, 0.5))
    if choose(generator, True, False, False, False):
        hazy = gaussian_blur(hazy, severity * uniform(generator, 0.3, 1.5))
    return hazy.clamp(0, 1)


def rain_layer(height: int, width: int, severity: float, generator: torch.Generator) -> Tensor:
    """Streaks [1, H, W] in [0, 1]: 1-3 scales of length 10-60 px, leaning up to ±35° from vertical."""
    layer = torch.zeros(1, height, width)
    lean = math.radians(uniform(generator, -35, 35))
    for _ in range(choose(generator, 1, 2, 3)):
        length = uniform(generator, 10, 60)
        thickness = choose(generator, uniform(generator, 0.6, 1.4), uniform(generator, 1.0, 3.0))
        density = (0.1 + severity) * uniform(generator, 0.1, 0.7) / (length * thickness)
        seeds = (torch.rand(1, height, width, generator=generator) < density).float()
        seeds = seeds * (0.3 + 0.7 * torch.rand(1, height, width, generator=generator))
        kernel = line_kernel(length, lean + math.radians(uniform(generator, -4, 4)), thickness)
        layer = torch.maximum(layer, convolve(seeds, kernel).clamp(0, 1))
    if choose(generator, True, False, False):
        layer = gaussian_blur(layer, uniform(generator, 0.4, 1.0))
    return layer


def rain(picture: Tensor, severity: float, generator: torch.Generator, layer: Tensor | None = None) -> Tensor:
    """Rain streaks added (J + S) or laid over (J + (A−J)·S), at times with the grey veil of distant rain."""
    layer = rain_layer(*picture.shape[-2:], severity, generator) if layer is None else layer
    strength = uniform(generator, 0.35, 0.7) + 0.4 * severity
    if choose(generator, True, False):
        rainy = picture + 0.7 * strength * layer
    else:
        rainy = picture + (uniform(generator, 0.6, 1.0) - picture) * (strength * layer).clamp_max(0.95)
    mode = choose(generator, "streaks", "streaks", "veil", "dusk")
    if mode == "veil":
        veil = 0.35 * severity * uniform(generator, 0.2, 1.0)
        rainy = rainy * (1 - veil) + uniform(generator, 0.5, 0.8) * veil
    elif mode == "dusk":
        rainy = gaussian_blur(rainy, severity * uniform(generator, 0.0, 1.2)) * (1 - 0.35 * severity)
    return rainy.clamp(0, 1)


def snow_layer(height: int, width: int, severity: float, generator: torch.Generator) -> Tensor:
    """Flakes' opacity [1, H, W] in [0, 1]: radii 1-2, 2-5 and 5-14 px, opacity 0.4-1, at times moving."""
    clear = torch.ones(1, height, width)
    lean = math.radians(uniform(generator, -60, 60))
    moving = choose(generator, True, False)
    fine, medium, coarse = (0.7, 2, 0.06), (2, 5, 0.05), (5, 14, 0.04)
    for low, high, cover in choose(
        generator, (fine, medium, coarse), (fine, medium, coarse), (fine, medium), (medium, coarse), (fine,), (medium,)
    ):
        for _ in range(2):
            radius = uniform(generator, low, high)
            density = (0.1 + severity) * cover * uniform(generator, 0.2, 1.0) / (math.pi * radius**2)
            seeds = (torch.rand(1, height, width, generator=generator) < density).float()
            seeds = seeds * (0.4 + 0.6 * torch.rand(1, height, width, generator=generator))
            kernel = disk_kernel(radius, uniform(generator, 0.6, 1.0 + radius))
            flakes = convolve(seeds, kernel)
            if moving:
                streak = line_kernel(1 + radius * uniform(generator, 0.5, 4.0), lean, 1.0)
                flakes = convolve(flakes, streak / streak.sum()) * 1.5
            clear = clear * (1 - flakes.clamp(0, 1))
    return 1 - clear


def snow(picture: Tensor, severity: float, generator: torch.Generator, layer: Tensor | None = None) -> Tensor:
    """Falling snow J(1−M) + M, at times under a bright veil or with snow lying on what is already light."""
    layer = snow_layer(*picture.shape[-2:], severity, generator) if layer is None else layer
    mode = choose(generator, "flakes", "flakes", "veil", "lying")
    snowy = picture
    if mode == "veil":
        veil = 0.3 * severity * uniform(generator, 0.2, 1.0)
        snowy = snowy * (1 - veil) + 0.85 * veil
    elif mode == "lying":
        amount = severity * uniform(generator, 0.1, 0.5)
        snowy = snowy * (1 - amount) + amount * torch.maximum(snowy, 1.5 * _luma(snowy) + 0.4).clamp_max(1)
    cover = layer * uniform(generator, 0.7, 1.0)
    return (snowy * (1 - cover) + cover * uniform(generator, 0.85, 1.0)).clamp(0, 1)


def raindrops(picture: Tensor, severity: float, generator: torch.Generator) -> Tensor:
    """Drops on the lens: inside each the flipped, blurred background, lighter in the middle, with a dark rim."""
    height, width = picture.shape[-2:]
    scale = min(height, width) / 256
    count = max(1, round((4 + 40 * severity * uniform(generator, 0.3, 1.0)) * max(1.0, height * width / 256**2) ** 0.5))
    yy = torch.arange(height, dtype=torch.float32).view(-1, 1)
    xx = torch.arange(width, dtype=torch.float32).view(1, -1)
    source_y, source_x = yy.expand(height, width).clone(), xx.expand(height, width).clone()
    opacity, shade = torch.zeros(height, width), torch.ones(height, width)
    for _ in range(count):
        radius = max(2.0, uniform(generator, 3, 18) * max(1.0, scale))
        stretch = uniform(generator, 0.8, 1.5)
        cy, cx = uniform(generator, 0, height), uniform(generator, 0, width)
        reach = math.ceil(radius * stretch) + 2
        rows = slice(max(0, int(cy) - reach), min(height, int(cy) + reach + 1))
        cols = slice(max(0, int(cx) - reach), min(width, int(cx) + reach + 1))
        dy, dx = (yy[rows] - cy) / stretch, xx[:, cols] - cx
        distance = (dy**2 + dx**2).sqrt() / radius
        inside = ((1 - distance) * radius / 1.5).clamp(0, 1)
        covers = inside > opacity[rows, cols]
        bend = uniform(generator, 1.5, 4.0)
        source_y[rows, cols] = torch.where(covers, cy - dy * bend, source_y[rows, cols])
        source_x[rows, cols] = torch.where(covers, cx - dx * bend, source_x[rows, cols])
        lens = uniform(generator, 0.9, 1.25) - uniform(generator, 0.2, 0.6) * distance.clamp_max(1) ** 6
        shade[rows, cols] = torch.where(covers, lens, shade[rows, cols])
        opacity[rows, cols] = torch.maximum(opacity[rows, cols], inside)
    grid = torch.stack((source_x / max(1, width - 1), source_y / max(1, height - 1)), -1) * 2 - 1
    background = gaussian_blur(picture, uniform(generator, 1.0, 3.0) * max(1.0, scale))
    seen = F.grid_sample(background[None], grid[None], mode="bilinear", padding_mode="reflection", align_corners=True)[0]
    opacity = opacity * (0.6 + 0.4 * severity)
    return (picture * (1 - opacity) + (seen * shade).clamp(0, 1) * opacity).clamp(0, 1)
