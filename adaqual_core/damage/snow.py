"""This module draws snow: falling flakes, sparse to blizzard, sharp to far out of focus, and ice on the pane.

Severity (our definition): s = 1 − (1 − a)(1 − b). b is the opacity of the veil. a = √(c / 0.3), at most 1, where c is the mean
opacity of the flakes over windows of 64 px (larger in large pictures, as the flakes are). A flake counts as far as it is seen:
by the change that it makes, of which 0.3 counts in full.

Sources of ranges: Snow100K (Liu et al., TIP 2018): small, medium and large flakes of many shapes, transparencies and speeds; CSD
(Chen et al., ICCV 2021): flakes together with streaks and a veil; SRRS (Chen et al., ECCV 2020): the veil of distant snow;
ImageNet-C (Hendrycks and Dietterich, 2019): the idea of snow as noise cut off at a threshold and moved, none of its numbers.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..filters import gaussian_blur, luma, smoothstep
from .draws import Draws
from .fields import axes, colour, convolve, line_kernel, local_mean, octave_noise, percentiles
from .haze import lay_over, thin_veil
from .shapes import draw_flakes, draw_strokes, places, size_factor

BLIZZARD = 0.3
"""Mean opacity of flakes at which their severity is 1."""


def snow(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Draw snow from a randomly chosen generator over a picture.

    The function takes a picture [3, H, W] in [0, 1] and the severity asked for, in (0, 1]. It returns the snowy picture [3, H,
    W] in [0, 1] and the severity of the snow at every pixel, [1, H, W] in [0, 1].
    """
    generator = draws.choose(*GENERATORS.values())
    return generator(picture, severity, draws)


def _snowy(picture: Tensor, flakes: Tensor, veil: Tensor | None, draws: Draws, added: float = 0.25) -> tuple[Tensor, Tensor]:
    """Return the picture behind its veil [1, H, W] and its flakes [1, H, W], and the severity of both.

    Flakes are white to light grey, at times bluish. They hide what is behind them; with the probability ``added`` they are added
    to it instead, as light that passes through them. In a quarter of the draws they are darker than a brighter sky behind them.
    """
    veiled = picture
    if veil is not None:
        grey = draws.uniform(0.65, 0.95) + draws.uniform(0, 0.04) * colour(-1.0, 0.0, 1.0, picture.device)
        veiled = lay_over(picture, 1 - veil, grey)
    level = draws.uniform(0.85, 1.0) if draws.chance(0.75) else draws.uniform(0.65, 0.9)
    white = (level + draws.uniform(0, 0.05) * colour(-1.0, -0.2, 1.0, picture.device)).clamp(0, 1)
    snowy = (veiled + flakes * white).clamp(0, 1) if draws.chance(added) else veiled + flakes * (white - veiled)
    if draws.chance(0.75):
        snowy = torch.maximum(snowy, veiled)
    seen = torch.minimum(flakes, (snowy - veiled).abs().mean(0, keepdim=True) / 0.3)
    window = 64 * size_factor(*picture.shape[-2:])
    severity = (local_mean(seen, window) / BLIZZARD).clamp(0, 1).sqrt()
    return snowy.clamp(0, 1), severity if veil is None else 1 - (1 - severity) * (1 - veil)


def _parts(picture: Tensor, severity: float, draws: Draws, chance: float) -> tuple[float, Tensor | None]:
    """Divide a severity into the mean opacity of the flakes and, with the probability ``chance``, a veil [1, H, W] or None."""
    veil, rest = thin_veil(picture, severity, draws) if draws.chance(chance) else (None, severity)
    return BLIZZARD * (rest * draws.uniform(0.9, 1.05)) ** 2, veil


def _together(layers: list[Tensor], cover: float) -> Tensor:
    """Unite flake layers and scale them, at most threefold, so that the mean opacity is near ``cover``."""
    clear = torch.ones_like(layers[0])
    for layer in layers:
        clear = clear * (1 - layer)
    flakes = 1 - clear
    return (flakes * (cover / flakes.mean().clamp_min(1e-6)).clamp(max=3)).clamp_max(0.97)


def _count(height: int, width: int, cover: float, area: float, opacity: float) -> int:
    """Return how many flakes (1 to 6000) of this area in px and this mean opacity give the mean opacity ``cover``."""
    covered = -math.log(1 - min(0.85, cover / opacity))
    return min(6000, max(1, round(covered * height * width / area)))


def _flakes(height: int, width: int, cover: float, radius: float, draws: Draws, *, softness: float, opacity: float) -> Tensor:
    """Draw a layer of flakes of about one radius (px); ``softness`` is the width of the edge as a share of the radius.

    Soft flakes are drawn on a coarser grid. Of more than 1200 flakes, some are drawn and the others are mirrored, shifted copies.
    """
    step = max(1, int(softness * radius / 2))
    rows, cols, radius = math.ceil(height / step), math.ceil(width / step), radius / step
    wanted = _count(rows, cols, cover, math.pi * radius**2 * 0.75, 0.7 * opacity)
    copies = math.ceil(wanted / 1200)
    count = math.ceil(wanted / copies)
    unevenness, stretch = draws.choose(0.0, 0.08, 0.15), draws.choose(0.0, 0.4, 1.0)
    dents = unevenness * draws.normal(3, count).clamp(-1.2, 1.2) if unevenness and radius > 1.5 else None
    layer = draw_flakes(
        rows,
        cols,
        places(rows, cols, count, radius, draws),
        radius * (0.6 + 0.6 * draws.rand(count)),
        1 + stretch * draws.rand(count),
        2 * math.pi * draws.rand(count),
        (softness * radius * (0.6 + 0.8 * draws.rand(count))).clamp_min(0.9),
        opacity * (1 - 0.6 * draws.rand(count)),
        dents,
    )
    drawn = layer
    for copy in range(1, copies):
        mirrored = drawn.flip(1 + copy % 2).roll((int(draws.uniform(0, rows)), int(draws.uniform(0, cols))), (1, 2))
        layer = torch.maximum(layer, mirrored)
    return layer if step == 1 else F.interpolate(layer[None], (height, width), mode="bilinear", align_corners=False)[0]


def _discs(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Draw sharp flakes one by one in one to three sizes (radius 0.6-1.5, 1.5-3 and 3-7 px), round, oval or uneven."""
    height, width = picture.shape[-2:]
    cover, veil = _parts(picture, severity, draws, 0.3)
    small, medium, large = (0.6, 1.5), (1.5, 3.0), (3.0, 7.0)
    sizes = draws.choose((small,), (medium,), (large,), (small, medium), (medium, large), (small, medium, large))
    layers = []
    for low, high in sizes:
        radius = draws.uniform(low, high) * size_factor(height, width)
        softness, opacity = draws.uniform(0.3, 1.0), draws.uniform(0.35, 1.0)
        layers.append(_flakes(height, width, cover / len(sizes), radius, draws, softness=softness, opacity=opacity))
    return _snowy(picture, _together(layers, cover), veil, draws)


def _streaks(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Draw flakes that move during the exposure as short thick strokes, which lean the same way or swirl."""
    height, width = picture.shape[-2:]
    cover, veil = _parts(picture, severity, draws, 0.4)
    scale, lean = size_factor(height, width), math.radians(draws.uniform(-65, 65))
    wander = math.radians(draws.choose(3.0, 10.0, 30.0))
    layers = []
    for _ in range(draws.choose(1, 2)):
        thickness = draws.log_uniform(1.2, 5.0) * scale
        length = thickness * draws.uniform(1.5, 6.0)
        opacity = draws.uniform(0.4, 1.0)
        count = _count(height, width, cover, length * thickness * 0.8, 0.7 * opacity)
        layer = draw_strokes(
            height,
            width,
            places(height, width, count, length, draws),
            length * (0.5 + draws.rand(count)),
            (lean + wander * draws.normal(count)).clamp(-1.2, 1.2),
            thickness * (0.5 + draws.rand(count)),
            opacity * (1 - 0.6 * draws.rand(count)),
            draws.uniform(2.0, 6.0),
        )
        layers.append(gaussian_blur(layer, 0.2 * thickness))
    return _snowy(picture, _together(layers, cover), veil, draws)


def _noise_flakes(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Cut smooth noise off at a threshold and move it along a line, which gives irregular clumps without any drawn shape."""
    height, width = picture.shape[-2:]
    cover, veil = _parts(picture, severity, draws, 0.4)
    layers, scale = [], size_factor(height, width)
    lean = math.radians(draws.uniform(-70, 70))
    grains = draws.choose((0.7,), (1.2,), (2.0,), (0.7, 1.8), (1.0, 3.0))
    for grain in grains:
        sigma = grain * draws.uniform(0.8, 1.3) * scale
        field = gaussian_blur(draws.normal(1, height, width), sigma)
        share = min(0.8, 1.6 * cover / len(grains))
        threshold = field.std() * math.sqrt(2) * float(torch.erfinv(torch.tensor(1 - 2 * share)))
        layer = smoothstep(0.0, 1.0, (field - threshold) / (draws.uniform(0.15, 0.6) * field.std()))
        if draws.chance(0.6):
            kernel = line_kernel(1 + sigma * draws.uniform(2.0, 10.0), lean, 1.0, picture.device)
            layer = (convolve(layer, kernel / kernel.sum()) * 1.5).clamp(0, 1)
        layers.append(layer * draws.uniform(0.5, 1.0))
    return _snowy(picture, _together(layers, cover), veil, draws)


def _out_of_focus(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Draw large blurred flakes close to the lens (radius 5-22 px of 360), and often a few sharp small ones farther off."""
    height, width = picture.shape[-2:]
    cover, veil = _parts(picture, severity, draws, 0.25)
    scale = min(height, width) / 360
    near = draws.uniform(0.5, 1.0)
    layers = []
    for _ in range(draws.choose(1, 2)):
        radius = max(1.5, draws.log_uniform(5, 22) * scale)
        softness, opacity = draws.choose(0.4, 1.0, 1.6), draws.uniform(0.25, 0.85)
        layers.append(_flakes(height, width, near * cover, radius, draws, softness=softness, opacity=opacity))
    if draws.chance(0.6):
        radius = draws.uniform(0.7, 2.5) * size_factor(height, width)
        layers.append(_flakes(height, width, (1 - near) * cover + 0.003, radius, draws, softness=0.6, opacity=0.8))
    return _snowy(picture, _together(layers, cover), veil, draws)


def _blizzard(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Draw snow in depth, in gusts: fine and dense far away, larger and moved close by; at times it lies on light surfaces."""
    height, width = picture.shape[-2:]
    cover, veil = _parts(picture, severity, draws, 0.8)
    scale, lean = size_factor(height, width), math.radians(draws.uniform(-70, 70))
    gusts = octave_noise(height, width, draws, cells=draws.choose(1, 2, 4), octaves=3)
    far = _flakes(
        height, width, 0.5 * cover, draws.uniform(0.6, 1.1) * scale, draws, softness=0.8, opacity=draws.uniform(0.4, 0.9)
    )
    layers = [far * (1 - draws.uniform(0.0, 0.8) * gusts)]
    for radius, share in ((1.6, 0.3), (3.5, 0.2)):
        radius = radius * draws.uniform(0.8, 1.4) * scale
        layer = _flakes(height, width, share * cover, radius, draws, softness=draws.uniform(0.4, 1.0), opacity=0.9)
        kernel = line_kernel(1 + radius * draws.uniform(0.5, 4.0), lean, 1.0, picture.device)
        layers.append((convolve(layer, kernel / kernel.sum()) * 1.3).clamp(0, 1))
    flakes = _together(layers, cover)
    if draws.chance(0.3):
        light = luma(picture)
        lying = smoothstep(0.35, 0.7, light) * (1 - smoothstep(0.9, 1.0, light))
        flakes = torch.maximum(flakes, 0.4 * severity * draws.uniform(0.3, 1.0) * lying)
    return _snowy(picture, flakes, veil, draws)


def _frost(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Draw ice on the pane: a grainy white film, thickest along the borders or in patches, at times with tufts of needles."""
    height, width = picture.shape[-2:]
    cover, veil = _parts(picture, severity, draws, 0.3)
    cover = cover * (0.5 + 0.5 * severity)  # ice gathers
    y, x = axes(height, width, picture.device)
    border = torch.maximum((2 * y - 1).abs(), (2 * x - 1).abs()) * draws.uniform(0.0, 1.0)
    patches = octave_noise(height, width, draws, cells=draws.choose(1, 2, 3), octaves=4) + border
    low, high = percentiles(patches, draws.uniform(0.2, 0.7) * (1 - severity), 0.98)
    thick = smoothstep(low, high + 0.01, patches)
    grain = octave_noise(height, width, draws, cells=draws.choose(6, 12, 24), octaves=6, persistence=draws.uniform(0.6, 0.9))
    layers = [thick * smoothstep(0.25, 0.9, grain)]
    count, scale = draws.choose(0, 400, 1200), size_factor(height, width)
    if count:
        centre = places(height, width, count, 0.0, draws)
        row, col = centre.long()
        tuft = (thick + grain)[0, row.clamp_max(height - 1), col.clamp_max(width - 1)]  # needles of one tuft lie alike
        length = draws.uniform(5.0, 18.0) * scale * (0.4 + draws.rand(count))
        lean = (4 * math.pi * tuft + 0.4 * draws.normal(count)).sin() * 1.2
        thickness = scale * (0.5 + draws.rand(count))
        layers.append(draw_strokes(height, width, centre, length, lean, thickness, 0.4 * tuft.clamp(0, 1), 2.0) * thick)
    return _snowy(picture, 0.9 * _together(layers, cover), veil, draws, added=0.0)


GENERATORS = {
    "discs": _discs,
    "streaks": _streaks,
    "noise flakes": _noise_flakes,
    "out of focus": _out_of_focus,
    "blizzard": _blizzard,
    "frost": _frost,
}
"""The generators of snow by name; :func:`snow` chooses each equally often."""
