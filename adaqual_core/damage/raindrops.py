"""This module puts raindrops on a lens or a pane: sharp drops, soft spots, water films, running drops and mist.

Severity (our definition): s = √(c / 0.4), at most 1, where c is the share of the area that drops cover within windows of a
quarter of the picture's short side, but at least 64 px. A pixel counts as far as it is seen to be covered: by its change, of
which 0.1 counts in full. Outside the drops pixels are untouched.

What a drop shows: a wide view of the scene, upside down and small (RainDrop, Qian et al., CVPR 2018; Halimeh and Roser, 2009).
So it is brighter than dark ground, darker than a bright wall, and its rim, which looks past the scene, is dark. A camera that
focuses on the scene shows the drops blurred. Sizes scale with the picture: a lens is as wide as its picture.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..filters import gaussian_blur, luma, smoothstep
from .draws import Draws
from .fields import local_mean, octave_noise, percentiles, wide_blur
from .shapes import depth_inside, draw_flakes, draw_strokes, owners, places

FULL = 0.4
"""Share of the area under drops at which the severity is 1."""


def raindrops(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Put raindrops from a randomly chosen generator before a picture.

    The function takes a picture [3, H, W] in [0, 1] and the severity asked for, in (0, 1]. It returns the picture behind drops
    [3, H, W] in [0, 1] and the severity of the raindrops at every pixel, [1, H, W] in [0, 1].
    """
    generator = draws.choose(*GENERATORS.values())
    return generator(picture, severity, draws)


def _behind(picture: Tensor, content: Tensor, cover: Tensor) -> tuple[Tensor, Tensor]:
    """Replace the picture by ``content`` [3, H, W] as far as ``cover`` [1, H, W] says, and return it with the severity."""
    wet = picture + cover * (content.clamp(0, 1) - picture)
    seen = torch.minimum(cover, (wet - picture).abs().mean(0, keepdim=True) / 0.1)
    window = max(64, min(picture.shape[-2:]) / 4)
    return wet, (local_mean(seen, window) / FULL).clamp(0, 1).sqrt()


def _cover(severity: float, draws: Draws) -> float:
    """Draw the share of the area that drops shall cover."""
    return FULL * (severity * draws.uniform(0.78, 1.0)) ** 2 * (1 + 0.4 * severity**3)


def _scale(height: int, width: int) -> float:
    """Return the factor of all sizes, which is 1 for a short side of 256 px."""
    return min(height, width) / 256


def _largest(severity: float, low: float, high: float, draws: Draws) -> float:
    """Draw the radius of the largest drops at scale 1, from ``low`` to ``high``, smaller for a low severity."""
    return min(draws.log_uniform(low, high), 23 * (severity + 0.15))


def _radii(height: int, width: int, cover: float, largest: float, draws: Draws) -> Tensor:
    """Draw the radii in px of as many drops as cover the area: a few near ``largest``, most of them smaller, none below 1 px."""
    typical = (0.25 + 0.75 * draws.rand(64) ** draws.uniform(1.0, 3.0)) * largest
    area = math.pi * float((typical**2).mean())
    count = min(400, max(1, round(-math.log(1 - min(0.9, cover)) * height * width / area)))
    return typical[(draws.rand(count) * 64).long()].clamp_min(1.0)


def _view(picture: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Sample the picture at places y and x [H, W] in px; beyond its borders it is mirrored."""
    height, width = picture.shape[-2:]
    grid = torch.stack((2 * x / max(1, width - 1) - 1, 2 * y / max(1, height - 1) - 1), -1)
    return F.grid_sample(picture[None], grid[None], mode="bilinear", padding_mode="reflection", align_corners=True)[0]


def _positions(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Return the row and column of every pixel in px, [H, W] each."""
    height, width = picture.shape[-2:]
    y = torch.arange(height, dtype=torch.float32, device=picture.device).view(-1, 1).expand(height, width)
    x = torch.arange(width, dtype=torch.float32, device=picture.device).view(1, -1).expand(height, width)
    return y, x


def _in_focus(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Draw drops in sharp focus; each shows the scene around it upside down, with a dark rim and at times a highlight."""
    height, width = picture.shape[-2:]
    scale = _scale(height, width)
    radius = _radii(height, width, _cover(severity, draws), _largest(severity, 5, 22, draws) * scale, draws)
    count = len(radius)
    centre = places(height, width, count, 0.0, draws)
    stretch = 1 + draws.uniform(0.0, 0.8) * draws.rand(count)
    angle = math.pi / 2 + draws.uniform(0.1, 0.6) * draws.normal(count)  # drops hang downwards
    dents = draws.choose(0.03, 0.08) * draws.normal(3, count).clamp(-1.5, 1.5)
    step = max(1, int(scale))  # which drop lies where is found on a coarser grid; edges are drawn at full size below
    rows, cols = math.ceil(height / step), math.ceil(width / step)
    owner = owners(rows, cols, centre / step, radius / step, stretch, angle, dents, 1.0)
    owner = owner.repeat_interleave(step, 0).repeat_interleave(step, 1)[:height, :width]
    covered, owner = (owner >= 0)[None], owner.clamp_min(0)

    y, x = _positions(picture)
    cy, cx, r = centre[0][owner], centre[1][owner], radius[owner]
    dy, dx = y - cy, x - cx
    depth = depth_inside((dy, dx), r, stretch[owner], angle[owner], dents[:, owner])
    edge = (1 - depth / r).clamp(0, 1)
    bend = draws.uniform(2.0, 8.0) * (1 + 0.5 * edge**2)
    seen = _view(gaussian_blur(picture, draws.uniform(0.8, 2.5) * max(1.0, scale)), cy - dy * bend, cx - dx * bend)

    rim, lit = draws.uniform(0.1, 0.7), draws.uniform(-0.1, 0.3)
    shade = (1 + lit * (dy / r).clamp(-1, 1) - rim * edge ** draws.uniform(3.0, 8.0)) * (0.85 + 0.35 * draws.rand(count))[owner]
    spot = torch.exp(-((dy / r + 0.4) ** 2 + (dx / r + draws.uniform(-0.4, 0.4)) ** 2) / 0.03)
    content = seen * shade + draws.choose(0.0, draws.uniform(0.0, 0.6)) * spot
    return _behind(picture, content, (depth + 0.5).clamp(0, 1)[None] * covered * draws.uniform(0.75, 1.0))


def _spots(height: int, width: int, cover: float, largest: float, softness: float, draws: Draws) -> Tensor:
    """Draw the opacity [1, H, W] of round soft drops; ``softness`` is the width of the edge as a share of the radius."""
    step = max(1, int(softness * largest / 8))  # soft drops are drawn on a coarser grid
    rows, cols = math.ceil(height / step), math.ceil(width / step)
    radius = _radii(rows, cols, cover, largest / step, draws)
    count = len(radius)
    spots = draw_flakes(
        rows,
        cols,
        places(rows, cols, count, 0.0, draws),
        radius,
        1 + draws.uniform(0.0, 0.6) * draws.rand(count),
        math.pi / 2 + 0.3 * draws.normal(count),
        (softness * radius).clamp_min(1.2),
        draws.uniform(0.5, 1.0) * (1 - 0.4 * draws.rand(count)),
        None,
    )
    return _to_size(spots, height, width)


def _to_size(field: Tensor, height: int, width: int) -> Tensor:
    """Enlarge a field [1, h, w] to the size of the picture."""
    if field.shape[-2:] == (height, width):
        return field
    return F.interpolate(field[None], (height, width), mode="bilinear", align_corners=False)[0]


def _out_of_focus(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Draw drops far out of focus: soft spots in the colours of a wide view, some lit by the sky, some shaded above."""
    height, width = picture.shape[-2:]
    scale, cover, softness = _scale(height, width), 1.15 * _cover(severity, draws), draws.uniform(0.4, 1.3)
    largest = _largest(severity, 3, 26, draws) * scale
    bright_share = draws.choose(0.0, 0.5, 1.0)
    wide = wide_blur(picture.flip(1), max(1.0, draws.uniform(6, 25) * scale))
    wide = wide + draws.uniform(0.1, 0.8) * (picture.mean((1, 2), keepdim=True) - wide)
    wide = wide + draws.uniform(0.0, 0.3) * (gaussian_blur(picture, 3 * max(0.3, scale)) - wide)
    sky = wide_blur(picture, max(1.0, 8 * scale)).flatten(1).amax(1).view(3, 1, 1)
    content, opacity = picture, torch.zeros_like(picture[:1])
    for share, light, gain in ((1 - bright_share, 0.0, (0.7, 1.1)), (bright_share, draws.uniform(0.4, 0.9), (0.9, 1.2))):
        if share:
            spots = _spots(height, width, share * cover, largest, softness, draws)
            slope = (spots - spots.roll(1, 1)) * 0.5 * largest * draws.uniform(-0.1, 0.5)
            shown = (wide + light * (sky - wide)) * draws.uniform(*gain) - slope
            content = torch.where(spots > opacity, shown, content)
            opacity = torch.maximum(opacity, spots)
    return _behind(picture, content, opacity)


def _refracted(picture: Tensor, thickness: Tensor, cover: Tensor, size: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Show the picture through water of a thickness [1, H, W] (1 = thickest) where ``cover`` [1, H, W] is positive.

    Light bends along the slope of the water, so that small drops (``size``, in px) invert the scene; slopes facing up are lit.
    """
    y, x = _positions(picture)
    around = F.pad(thickness[None], (1, 1, 1, 1), mode="replicate")[0, 0]
    slope_y, slope_x = (around[2:, 1:-1] - around[:-2, 1:-1]) / 2, (around[1:-1, 2:] - around[1:-1, :-2]) / 2
    power = size**2 * draws.uniform(1.5, 5.0)
    seen = _view(gaussian_blur(picture, draws.uniform(0.6, 2.0)), y + power * slope_y, x + power * slope_x)
    steep = (slope_y**2 + slope_x**2).sqrt() * size
    shade = 1 - draws.uniform(0.0, 0.5) * steep.clamp_max(1) + draws.uniform(-0.3, 0.3) * (slope_y * size).clamp(-1, 1)
    return _behind(picture, seen * shade * draws.uniform(0.9, 1.2), cover)


def _water_film(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Draw water of free shape that has flowed together: where smooth noise exceeds a threshold, water refracts the scene."""
    height, width = picture.shape[-2:]
    size = max(1.2, draws.log_uniform(2.0, 9.0) * _scale(height, width))
    noise = wide_blur(draws.normal(1, height, width), size)
    if draws.chance(0.5):
        noise = noise / noise.std() + draws.uniform(0.2, 1.0) * (octave_noise(height, width, draws, cells=2, octaves=3) - 0.5) * 4
    noise = noise / noise.std().clamp_min(1e-6)
    threshold = math.sqrt(2) * float(torch.erfinv(torch.tensor(1 - 2 * min(0.45, 1.15 * _cover(severity, draws)))))
    edge = draws.choose(0.1, 0.25)
    thickness = ((noise - threshold).clamp_min(0) / 1.5).sqrt().clamp(0, 1)
    return _refracted(picture, gaussian_blur(thickness, 0.7), smoothstep(0, edge, noise - threshold), size, draws)


def _running(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Draw drops that run down a pane and leave winding trails of water above them, among small drops that stay."""
    height, width = picture.shape[-2:]
    step = max(1, int(_scale(height, width)))  # water is drawn on a coarser grid
    rows, cols = math.ceil(height / step), math.ceil(width / step)
    cover = 1.5 * _cover(severity, draws) * severity**0.5
    head = max(1.5, min(draws.uniform(3.0, 8.0), 12 * (severity + 0.15)) * _scale(rows, cols))
    trail, joints = draws.uniform(0.15, 0.6) * rows, 8
    runners = min(60, max(1, round(0.7 * cover * rows * cols / (trail * head * 1.2 + math.pi * head**2))))
    start = places(rows, cols, runners, 0.0, draws)
    wander = (draws.uniform(0.0, 0.5) * trail / joints * draws.normal(joints, runners)).cumsum(0)
    rise = torch.linspace(0, 1, joints, device=picture.device).view(-1, 1)
    y = start[0] - trail * rise * (0.5 + 0.5 * draws.rand(runners))
    x = start[1] + wander - wander[:1]
    dy, dx = y[1:] - y[:-1], x[1:] - x[:-1]
    strokes = draw_strokes(
        rows,
        cols,
        torch.stack(((y[1:] + y[:-1]).flatten() / 2, (x[1:] + x[:-1]).flatten() / 2)),
        (dy**2 + dx**2).sqrt().flatten() + head,
        torch.atan(dx / dy.clamp_max(-1e-3)).clamp(-1.2, 1.2).flatten(),
        (head * 1.2 * (1 - 0.7 * rise[1:]).expand_as(dy)).flatten(),
        torch.ones((joints - 1) * runners, device=picture.device),
        6.0,
    )
    still = _radii(rows, cols, 0.3 * cover, 0.5 * head, draws)
    count = runners + len(still)
    radius = torch.cat((head * (0.7 + 0.6 * draws.rand(runners)), still))
    centre = torch.cat((start, places(rows, cols, len(still), 0.0, draws)), 1)
    even = torch.ones(count, device=picture.device)
    drops = draw_flakes(rows, cols, centre, radius, 1 + 0.4 * draws.rand(count), math.pi / 2 * even, radius, even, None)
    water = _to_size(torch.maximum(gaussian_blur(strokes, 0.3 * head) * 0.8, drops), height, width)
    return _refracted(picture, water, smoothstep(0.15, draws.uniform(0.3, 0.7), water), 0.7 * head * step, draws)


def _mist(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Draw spray or condensation: droplets of 1 to 3 px, and in half of the draws a film between them that blurs and pales."""
    height, width = picture.shape[-2:]
    scale, cover = max(1.0, _scale(height, width)), _cover(severity, draws)
    film_share = draws.choose(0.0, draws.uniform(0.3, 0.8))
    if cover > 0.15:  # so many droplets would flow together
        film_share = max(film_share, 1 - 0.15 / cover)
    droplets = _spots(height, width, (1 - film_share) * cover, draws.uniform(1.3, 3.0) * scale, 0.8, draws)
    around = wide_blur(picture.flip(1), max(1.0, 10 * scale))
    content = around + draws.uniform(0.2, 0.7) * (luma(picture).mean() * 1.2 - around)
    content = content * draws.uniform(0.8, 1.3) - (droplets - droplets.roll(1, 1)) * draws.uniform(-0.1, 0.4)
    if not film_share:
        return _behind(picture, content, droplets)
    patches = octave_noise(height, width, draws, cells=draws.choose(1, 2), octaves=3)
    low, high = percentiles(patches, 1 - min(1.0, 2.5 * film_share * cover), 1.0)
    film = smoothstep(low - 0.1, 0.5 * (low + high), patches) * min(draws.uniform(0.5, 0.9), 1.2 * FULL * (severity + 0.1) ** 2)
    pale = gaussian_blur(picture, draws.uniform(1.5, 4.0) * scale)
    pale = pale + draws.uniform(0.1, 0.5) * (around.mean((1, 2), keepdim=True) * 1.1 - pale)
    clear = 1 - (1 - droplets) * (1 - film)
    return _behind(picture, torch.where(droplets > film, content, pale), clear)


GENERATORS = {
    "in focus": _in_focus,
    "out of focus": _out_of_focus,
    "water film": _water_film,
    "running": _running,
    "mist": _mist,
}
"""The generators of raindrops by name; :func:`raindrops` chooses each equally often."""
