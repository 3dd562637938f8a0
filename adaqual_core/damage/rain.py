"""This module draws falling rain, thin to torrential, in one to three directions, with and without a veil.

Severity (our definition): s = 1 − (1 − a)(1 − b). b is the opacity of the veil. a = √(c / 0.4), at most 1, where c is the mean
opacity of the streaks over windows of 64 px (larger in large pictures, as the streaks are). A streak counts as far as it is
seen: by the brightness that it adds, of which 0.3 counts in full. Thin, sparse streaks reach about 0.2, torrential rain 1.
Streaks never darken a pixel.

Sources of ranges: Rain100L and Rain100H (Yang et al., CVPR 2017): one direction against five, streaks added; Rain1400 (Fu et al.,
CVPR 2017): noise with motion blur in 14 directions and strengths; Outdoor-Rain (Li et al., CVPR 2019): streaks and a veil that
thickens with distance; Garg and Nayar (IJCV 2007): a streak is brighter than what it hides, short and dense far away, long, wide
and faint close by; CDD-11 (OneRestore 2024): lengths of 10 to 60 px, up to 35° from vertical.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..filters import gaussian_blur, smoothstep
from .draws import Draws
from .fields import axes, colour, convolve, encoded, line_kernel, linear_light, local_mean, octave_noise, wide_blur
from .haze import lay_over, thin_veil
from .shapes import draw_strokes, places, size_factor

TORRENTIAL = 0.4
"""Mean opacity of streaks at which their severity is 1."""


def rain(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Draw rain from a randomly chosen generator over a picture.

    The function takes a picture [3, H, W] in [0, 1] and the severity asked for, in (0, 1]. It returns the rainy picture [3, H,
    W] in [0, 1] and the severity of the rain at every pixel, [1, H, W] in [0, 1].
    """
    generator = draws.choose(*GENERATORS.values())
    return generator(picture, severity, draws)


def lay_streaks(picture: Tensor, streaks: Tensor, draws: Draws) -> Tensor:
    """Lay streaks of an opacity [1, H, W] over a picture [3, H, W]: added, screened, mixed with light, or lit by the scene.

    No value of the result is below the picture's.
    """
    light = draws.uniform(0.7, 1.0) + draws.uniform(-0.06, 0.06) * colour(-0.6, 0.0, 1.0, picture.device)
    way = draws.choose("add", "screen", "mix", "scene", "linear")
    if way == "add":
        rainy = picture + draws.uniform(0.6, 1.0) * streaks * light
    elif way == "screen":
        rainy = 1 - (1 - picture) * (1 - streaks * light)
    elif way == "mix":
        rainy = picture + streaks * (light - picture)
    elif way == "scene":  # drops refract a wide view, mostly of the sky: the brighter the surroundings, the brighter the streaks
        around = wide_blur(picture, max(2.0, min(picture.shape[-2:]) / 8))
        rainy = picture + streaks * (torch.maximum(around, 0.6 * light) * 1.2 - picture)
    else:
        rainy = encoded(linear_light(picture) * (1 - streaks) + streaks * linear_light(light))
    return torch.where(streaks > 0, torch.maximum(rainy, picture), picture).clamp(0, 1)


def _rainy(picture: Tensor, streaks: Tensor, veil: Tensor | None, draws: Draws) -> tuple[Tensor, Tensor]:
    """Return the picture behind its veil [1, H, W] and its streaks [1, H, W], and the severity of both."""
    veiled = picture
    if veil is not None:
        grey = draws.uniform(0.5, 0.9) + draws.uniform(0, 0.04) * colour(-1.0, 0.0, 1.0, picture.device)
        veiled = lay_over(picture, 1 - veil, grey)
    rainy = lay_streaks(veiled, streaks, draws)
    seen = torch.minimum(streaks, (rainy - veiled).mean(0, keepdim=True) / 0.3)
    window = 64 * size_factor(*picture.shape[-2:])
    severity = (local_mean(seen, window) / TORRENTIAL).clamp(0, 1).sqrt()
    return rainy, severity if veil is None else 1 - (1 - severity) * (1 - veil)


def _parts(picture: Tensor, severity: float, draws: Draws, chance: float) -> tuple[float, Tensor | None]:
    """Divide a severity into the mean opacity of the streaks and, with the probability ``chance``, a veil [1, H, W] or None."""
    veil, rest = thin_veil(picture, severity, draws) if draws.chance(chance) else (None, severity)
    return TORRENTIAL * (rest * draws.uniform(0.9, 1.05)) ** 2, veil


def _directions(draws: Draws, steepest: float = 45) -> list[float]:
    """Draw one to three directions in radians from vertical, in most draws one; those of one rain differ by up to 60°."""
    lean = math.radians(draws.uniform(-steepest, steepest) * draws.uniform(0.2, 1.0))
    count = draws.choose(1, 1, 1, 2, 3)
    return [lean + math.radians(draws.uniform(-30, 30)) * (k > 0) for k in range(count)]


def _together(layers: list[Tensor], cover: float, strongest: float) -> Tensor:
    """Unite streak layers and scale them so that the mean opacity is ``cover``, as far as the limit ``strongest`` allows."""
    clear = torch.ones_like(layers[0])
    for layer in layers:
        clear = clear * (1 - layer.clamp(0, 1))
    streaks = 1 - clear
    for _ in range(2):  # what is cut off at the strongest opacity is made up for once
        streaks = (streaks * (cover / streaks.mean().clamp_min(1e-6)).clamp(max=4)).clamp_max(strongest)
    return streaks


def _strongest(cover: float, draws: Draws) -> float:
    """Draw the largest opacity of a streak: 0.15 (faint) to 0.95, but enough to reach the mean opacity ``cover``."""
    return min(0.95, max(draws.log_uniform(0.15, 0.95), 1.6 * cover))


def _covered(cover: float, opacity: float) -> float:
    """Return how many streaks per pixel, times their area, bring the mean opacity to ``cover`` at this opacity of each."""
    return -math.log(1 - min(0.85, cover / opacity))


def _noise_streaks(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Cut noise off at a threshold and blur it along the direction of fall, once per direction (the recipe of Rain1400)."""
    height, width = picture.shape[-2:]
    cover, veil = _parts(picture, severity, draws, 0.35)
    strongest, scale = _strongest(cover, draws), size_factor(height, width)
    directions = _directions(draws)
    layers = []
    for direction in directions:
        length, thickness = draws.log_uniform(8, 70) * scale, draws.log_uniform(0.7, 2.5) * scale
        thickness = min(thickness, length / 6)
        grain = gaussian_blur(draws.normal(1, height, width), draws.choose(0.0, 0.5, 1.0))
        rate = _covered(cover / len(directions), 0.6 * strongest) / (length * thickness)
        threshold = grain.std() * math.sqrt(2) * torch.erfinv(torch.tensor(1 - 2 * min(0.4, rate)))
        kernel = line_kernel(length, direction, thickness, picture.device)
        layer = convolve((grain - threshold.to(grain.device)).clamp_min(0), kernel).clamp_min(0)
        layers.append(layer / layer.amax().clamp_min(1e-6))
    return _rainy(picture, _together(layers, cover, strongest), veil, draws)


def _strokes(
    height: int, width: int, cover: float, direction: float, draws: Draws, *, shape: tuple[float, float, float]
) -> Tensor:
    """Draw a layer of strokes; ``shape`` gives their largest length (px), thickness (px) and opacity."""
    length, thickness, opacity = shape
    count = _covered(cover, 0.6 * opacity) * height * width / (length * (thickness + 0.3) * 0.7)
    count = min(6000, max(1, round(count)))
    spread, wander = draws.choose(0.1, 0.4, 0.7), math.radians(draws.choose(0.5, 2.0, 6.0))
    return draw_strokes(
        height,
        width,
        places(height, width, count, length / 2, draws),
        length * (1 - spread * draws.rand(count)),
        (direction + wander * draws.normal(count)).clamp(-1.2, 1.2),
        thickness * (1 - spread * draws.rand(count)),
        opacity * (1 - draws.choose(0.3, 0.8) * draws.rand(count)),
        draws.log_uniform(1.0, 8.0),
    )


def _drawn_strokes(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Draw strokes one by one, each with its own length, thickness, opacity and lean, sharp or slightly out of focus."""
    height, width = picture.shape[-2:]
    cover, veil = _parts(picture, severity, draws, 0.3)
    strongest, scale = _strongest(cover, draws), size_factor(height, width)
    directions = _directions(draws)
    layers = []
    for direction in directions:
        length = draws.log_uniform(10, 80) * scale
        shape = (length, min(length / 6, draws.log_uniform(0.7, 4.0) * scale), strongest)
        layers.append(_strokes(height, width, cover / len(directions), direction, draws, shape=shape))
    streaks = _together(layers, cover, strongest)
    if draws.chance(0.55):
        streaks = gaussian_blur(streaks, draws.uniform(0.4, 1.4) * scale)
    return _rainy(picture, streaks, veil, draws)


def _near_and_far(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Draw rain in depth: dense, short, thin streaks far away, and sparse, long, wide, faint, blurred ones close to the lens."""
    height, width = picture.shape[-2:]
    cover, veil = _parts(picture, severity, draws, 0.7)
    scale, direction = size_factor(height, width), _directions(draws)[0]
    longest, thickest = draws.uniform(60, 140) * scale, draws.uniform(3.0, 9.0) * scale
    count = draws.choose(2, 3, 4)
    layers = []
    for k in range(count):
        nearness = 2.0 ** (k - count + 1) * draws.uniform(0.8, 1.2)
        opacity = draws.uniform(0.5, 0.9) * (1 - 0.6 * k / max(1, count - 1))
        shape = (longest * nearness, max(0.7, thickest * nearness**1.5), opacity)
        share = 2.0 ** (count - 1 - k) / (2**count - 1)  # most of the rain is far away
        layer = _strokes(height, width, share * cover, direction + math.radians(draws.uniform(-3, 3)), draws, shape=shape)
        layers.append(gaussian_blur(layer, 0.25 * shape[1] * draws.uniform(0.5, 1.5)))
    return _rainy(picture, _together(layers, cover, 0.9), veil, draws)


def _curtains(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Draw dense rain in gusts: noise that is smooth along the fall and rough across it, sheared, denser where a gust passes."""
    height, width = picture.shape[-2:]
    cover, veil = _parts(picture, severity, draws, 0.6)
    scale, layers = size_factor(height, width), []
    for direction in _directions(draws, steepest=30):
        length, thickness = draws.log_uniform(8, 45) * scale, draws.choose(1.0, draws.uniform(1.0, 2.0)) * scale
        slope = math.tan(direction)
        wide = width + math.ceil(abs(slope) * height) + 2
        threads = max(2, math.ceil(wide / thickness))
        grid = draws.rand(1, 1, math.ceil(height / length) + 3, threads)
        noise = F.interpolate(grid, (height + math.ceil(2 * length), threads), mode="bilinear", align_corners=False)[0, 0]
        y = torch.arange(height, device=picture.device).view(-1, 1)
        noise = noise.gather(0, y + (draws.rand(1, threads) * 2 * length).long())  # no two threads begin at the same height
        noise = F.interpolate(noise[None, None], (height, wide), mode="bilinear", align_corners=False)[0, 0]
        x = torch.arange(width, device=picture.device) - slope * (y if slope < 0 else y - height)
        left = x.floor().long().clamp(0, wide - 2)
        part = (x - left).clamp(0, 1)
        sheared = noise.gather(1, left) * (1 - part) + noise.gather(1, left + 1) * part
        density = draws.uniform(0.5, 0.75) - 0.5 * cover
        layers.append(smoothstep(density, min(1.0, density + draws.uniform(0.15, 0.4)), sheared)[None])
    gusts = octave_noise(height, width, draws, cells=draws.choose(1, 2, 4), octaves=3)
    uneven = draws.uniform(0.0, 0.8)
    layers = [layer * (1 - uneven * gusts) for layer in layers]
    return _rainy(picture, _together(layers, cover, _strongest(cover, draws)), veil, draws)


def _splashes(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Draw a downpour that splashes: short streaks, a bright spray over the ground, and mist that lies on it."""
    height, width = picture.shape[-2:]
    cover, veil = _parts(picture, severity, draws, 0.2)
    y, _ = axes(height, width, picture.device)
    ground = smoothstep(draws.uniform(0.2, 0.6), draws.uniform(0.7, 1.0), y)
    scale, direction = size_factor(height, width), _directions(draws, steepest=25)[0]
    falling = (draws.log_uniform(8, 40) * scale, draws.uniform(0.7, 1.8) * scale, draws.uniform(0.4, 0.9))
    spray = (draws.uniform(2.5, 6.0) * scale, draws.uniform(0.8, 1.6) * scale, draws.uniform(0.5, 0.9))
    share = draws.uniform(0.15, 0.5)
    layers = [
        _strokes(height, width, cover * (1 - share), direction, draws, shape=falling),
        _strokes(height, width, cover * share, draws.uniform(-1.0, 1.0), draws, shape=spray) * ground,
    ]
    if veil is None and draws.chance(0.7):
        mist = severity * draws.uniform(0.1, 0.4)
        veil = mist * ground * (0.5 + 0.5 * octave_noise(height, width, draws, cells=3, octaves=4))
    return _rainy(picture, _together(layers, cover, 0.9), veil, draws)


GENERATORS = {
    "noise streaks": _noise_streaks,
    "drawn strokes": _drawn_strokes,
    "near and far": _near_and_far,
    "curtains": _curtains,
    "splashes": _splashes,
}
"""The generators of rain by name; :func:`rain` chooses each equally often."""
