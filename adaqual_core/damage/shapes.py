"""This module draws anti-aliased strokes, flakes and drops into opacity fields [1, H, W] in [0, 1]."""

import math

import torch
from torch import Tensor

from .draws import Draws


def size_factor(height: int, width: int) -> float:
    """Return the factor of rain's and snow's sizes: 1 up to a short side of 360 px, and from there in proportion to it."""
    return max(1.0, min(height, width) / 360)


def places(height: int, width: int, count: int, margin: float, draws: Draws) -> Tensor:
    """Return random places [2, count], y and x in px, in a picture and a margin around it; the first lies in the picture."""
    place = draws.rand(2, count)
    beyond = torch.cat((torch.zeros(1), torch.full((count - 1,), float(margin)))).to(draws.device)
    size = torch.tensor([[height], [width]], device=draws.device)
    return place * (size + 2 * beyond) - beyond


def draw_strokes(
    height: int, width: int, centre: Tensor, length: Tensor, angle: Tensor, thickness: Tensor, opacity: Tensor, taper: float
) -> Tensor:
    """Return the union (maximum) of N strokes whose sides are one pixel soft.

    ``centre`` [2, N] holds y and x in px; ``length`` and ``thickness`` [N] are in px; ``angle`` [N] is in radians from vertical,
    within ±1.2; ``opacity`` [N] in [0, 1] is reached along the middle. Towards both ends a stroke fades as 1 − |2a/length|^taper
    with the distance a from its middle: 1 is a long fade, 8 an abrupt end.
    """
    sine, cosine = angle.sin().view(-1, 1, 1), angle.cos().view(-1, 1, 1)
    half = (length * angle.cos()).view(-1, 1, 1) / 2
    rows = int(torch.ceil(half.amax())) + 1
    cols = math.ceil(float((thickness / angle.cos()).amax()) / 2 + 1)
    dy = torch.arange(-rows, rows + 1, device=length.device).view(1, -1, 1)
    dx = torch.arange(-cols, cols + 1, device=length.device).view(1, 1, -1)
    y0, x0 = centre[0].view(-1, 1, 1), centre[1].view(-1, 1, 1)
    y = y0.floor() + dy
    x = (x0 + (y - y0) * sine / cosine).floor() + dx
    across = (x - x0) * cosine - (y - y0) * sine
    along = (x - x0) * sine + (y - y0) * cosine
    body = ((thickness.view(-1, 1, 1) + 1) / 2 - across.abs()).clamp(0, 1)
    body = body * (1 - (2 * along / length.view(-1, 1, 1)).abs() ** taper).clamp(0, 1) * opacity.view(-1, 1, 1)
    return _union(height, width, y.expand_as(x), x, body)


def depth_inside(offset: tuple[Tensor, Tensor], radius: Tensor, stretch: Tensor, angle: Tensor, dents: Tensor | None) -> Tensor:
    """Return how far inside the outline of a flake or drop each place lies, in px; it is negative outside.

    ``offset`` holds the places' y and x from the centre in px. The shape is a disc of ``radius`` px, stretched to an ellipse
    whose longer axis is ``stretch`` ≥ 1 times the shorter and lies along ``angle`` (radians). ``dents`` [3, ...] are the
    strengths of a twofold, a threefold and a fivefold wave of the outline, as shares of the radius; None means a smooth outline.
    All shapes broadcast.
    """
    (dy, dx), root = offset, stretch.sqrt()
    along = (dx * angle.cos() + dy * angle.sin()) / root
    across = (dy * angle.cos() - dx * angle.sin()) * root
    outline = radius
    if dents is not None:
        turn = torch.atan2(across, along)
        for wave, dent in zip((2, 3, 5), dents, strict=True):
            outline = outline + radius * dent * torch.sin(wave * turn + angle)
    return outline - (along**2 + across**2).sqrt()


def draw_flakes(
    height: int,
    width: int,
    centre: Tensor,
    radius: Tensor,
    stretch: Tensor,
    angle: Tensor,
    softness: Tensor,
    opacity: Tensor,
    dents: Tensor | None,
) -> Tensor:
    """Return the union (maximum) of N flakes with soft edges.

    ``centre`` [2, N] holds y and x in px; ``radius``, ``stretch``, ``angle`` [N] and ``dents`` [3, N] as in :func:`depth_inside`;
    ``softness`` [N] is the width of the edge in px; ``opacity`` [N] in [0, 1] is reached inside.
    """
    y, x = _patches(centre, float((radius * stretch.sqrt() * 1.3 + softness).amax()))
    soft = softness.view(-1, 1, 1)
    body = (_patch_depth(y, x, centre, radius, stretch, angle, dents) / soft + 0.5).clamp(0, 1)
    return _union(height, width, y, x, body * body * (3 - 2 * body) * opacity.view(-1, 1, 1))


def owners(
    height: int, width: int, centre: Tensor, radius: Tensor, stretch: Tensor, angle: Tensor, dents: Tensor | None, rim: float
) -> Tensor:
    """Return the number of the drop that covers each pixel, [H, W] of int64, or −1; later drops cover earlier ones.

    The N drops are described as in :func:`draw_flakes`; each covers its outline and ``rim`` px around it.
    """
    y, x = _patches(centre, float((radius * stretch.sqrt() * 1.3).amax()) + rim)
    inside = (_patch_depth(y, x, centre, radius, stretch, angle, dents) + rim).clamp_min(0)
    number = torch.arange(1, len(radius) + 1, device=radius.device).view(-1, 1, 1) * (inside > 0)
    return _union(height, width, y, x, number.float())[0].long() - 1


def _patches(centre: Tensor, reach: float) -> tuple[Tensor, Tensor]:
    """Return the pixel positions y and x [N, P, P] of patches that reach ``reach`` px around N centres [2, N]."""
    offset = torch.arange(-math.ceil(reach) - 1, math.ceil(reach) + 2, device=centre.device)
    y = centre[0].floor().view(-1, 1, 1) + offset.view(1, -1, 1)
    x = centre[1].floor().view(-1, 1, 1) + offset.view(1, 1, -1)
    return y.expand(-1, -1, len(offset)), x.expand(-1, len(offset), -1)


def _patch_depth(
    y: Tensor, x: Tensor, centre: Tensor, radius: Tensor, stretch: Tensor, angle: Tensor, dents: Tensor | None
) -> Tensor:
    """Return :func:`depth_inside` of N shapes, each at the pixels y and x [N, P, P] of its own patch."""
    offset = (y - centre[0].view(-1, 1, 1), x - centre[1].view(-1, 1, 1))
    radius, stretch, angle = (value.view(-1, 1, 1) for value in (radius, stretch, angle))
    return depth_inside(offset, radius, stretch, angle, None if dents is None else dents.view(3, -1, 1, 1))


def _union(height: int, width: int, y: Tensor, x: Tensor, value: Tensor) -> Tensor:
    """Return the largest of the values that fall on each pixel, [1, H, W]; values outside the picture are dropped."""
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width) & (value > 0)
    index = (y * width + x)[inside].long()
    field = torch.zeros(height * width, device=value.device)
    return field.scatter_reduce(0, index, value[inside], "amax").view(1, height, width)
