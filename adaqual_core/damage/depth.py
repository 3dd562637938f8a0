"""This module guesses plausible distances for photos, for haze and for the veils of rain and snow (our definitions).

The shapes stand for the scenes of the published simulators: rooms (RESIDE's indoor set takes real depth from NYU2), streets and
open ground (RESIDE's outdoor set, Outdoor-Rain), ridges, and a tilted plane with octave noise (OneRestore's CDD-11).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..filters import box_filter, luma, smoothstep
from .draws import Draws
from .fields import axes, enlarge, guided_filter, octave_noise, ramp


def scene_distance(picture: Tensor, draws: Draws, *, rooms: bool = True) -> Tensor:
    """Return a distance [1, H, W] in [0, 1] for every pixel of a picture [3, H, W]; the farthest pixels have 1.

    The distance has one of four shapes (room, ground with horizon and sky, ridges, tilted plane). It is broken up by objects
    that follow the picture's own colours, and smoothed along the picture's edges so that distance jumps where the picture has an
    edge. ``rooms=False`` leaves the room out.
    """
    height, width = picture.shape[-2:]
    shape = draws.choose(_ground, _ridges, _plane, *((_room,) if rooms else ()))
    distance = shape(picture, draws)
    if draws.chance(0.6):
        distance = distance * (1 - draws.uniform(0.2, 0.7) * _objects(picture, draws))
    if draws.chance(0.4):
        distance = distance * (1 - draws.uniform(0.1, 0.4) * octave_noise(height, width, draws, cells=2, octaves=3))
    radius = max(2, min(height, width) // draws.choose(10, 16, 24))
    distance = guided_filter(luma(picture), distance, radius, draws.log_uniform(3e-4, 1e-2)).clamp_min(0)
    return (distance / distance.amax().clamp_min(1e-3)).clamp(0, 1)


def _room(picture: Tensor, draws: Draws) -> Tensor:
    """Return the distance inside a box seen along its axis: back wall, side walls, floor and ceiling."""
    height, width = picture.shape[-2:]
    y, x = axes(height, width, picture.device)
    centre_y, centre_x = draws.uniform(0.2, 0.6), draws.uniform(0.1, 0.9)
    back = draws.uniform(1.5, 4.0)
    nearest = torch.full((1, *picture.shape[-2:]), back, device=picture.device)
    for offset in (x - centre_x, centre_x - x, y - centre_y, centre_y - y):
        reach = draws.uniform(0.4, 1.2)
        nearest = torch.minimum(nearest, reach / offset.clamp_min(1e-3))
    return nearest / back


def _ground(picture: Tensor, draws: Draws) -> Tensor:
    """Return the distance of flat ground up to a horizon; everything above it is far, and the picture's own sky is farthest."""
    height, width = picture.shape[-2:]
    y, _ = axes(height, width, picture.device)
    horizon, farthest = draws.uniform(0.0, 0.55), draws.uniform(2.0, 12.0)
    distance = (draws.uniform(0.5, 1.0) / (y - horizon).clamp_min(1e-3)).clamp_max(farthest) / farthest
    distance = distance.expand(1, height, width)
    return torch.maximum(distance * draws.uniform(0.5, 1.0), sky(picture))


def _ridges(picture: Tensor, draws: Draws) -> Tensor:
    """Return the distance of two to four ridges that stand one behind the other, each at one distance, before the sky."""
    height, width = picture.shape[-2:]
    y, _ = axes(height, width, picture.device)
    count = draws.choose(2, 3, 4)
    distance = torch.ones(1, height, width, device=picture.device)
    for k in range(count):
        line = enlarge(draws.rand(1, 1, draws.choose(3, 5, 9)), 1, width) * draws.uniform(0.05, 0.3)
        top = draws.uniform(0.05, 0.2) + 0.7 * (k + 1) / count + line
        nearness = (k + 1) / (count + 1) * draws.uniform(0.8, 1.1)
        distance = torch.where(y > top, 1 - nearness, distance)
    return torch.maximum(distance.clamp_min(0.02), sky(picture))


def _plane(picture: Tensor, draws: Draws) -> Tensor:
    """Return the distance of a tilted plane; it grows upwards in most draws, or else along any direction."""
    height, width = picture.shape[-2:]
    upwards = -math.pi / 2 + draws.uniform(-0.6, 0.6)
    angle = upwards if draws.chance(0.7) else draws.uniform(0, 2 * math.pi)
    near = draws.uniform(0.0, 0.6)
    return near + (1 - near) * ramp(height, width, angle, picture.device)


def _objects(picture: Tensor, draws: Draws) -> Tensor:
    """Return a field [1, H, W] in [0, 1] that differs between surfaces of different colour: a wave over smoothed colour."""
    height, width = picture.shape[-2:]
    small = F.adaptive_avg_pool2d(picture, (math.ceil(height / 4), math.ceil(width / 4)))
    direction = torch.tensor([draws.uniform(-1, 1) for _ in range(3)], device=picture.device).view(3, 1, 1)
    wave = torch.sin(2 * math.pi * (draws.uniform(0.5, 2.5) * (box_filter(small, 2) * direction).sum(0, keepdim=True)))
    return 0.5 + 0.5 * F.interpolate(wave[None], (height, width), mode="bilinear")[0]


def sky(picture: Tensor) -> Tensor:
    """Return how likely each pixel is sky, [1, H, W] in [0, 1]: sky is bright, even, and in the upper part of the picture."""
    height, width = picture.shape[-2:]
    y, _ = axes(height, width, picture.device)
    radius = max(1, min(height, width) // 64)
    light = picture.amax(0, keepdim=True)
    mean = box_filter(torch.cat((light, light * light)), radius)
    spread = (mean[1:] - mean[:1] ** 2).clamp_min(0).sqrt()
    return smoothstep(0.45, 0.75, mean[:1]) * (1 - smoothstep(0.02, 0.08, spread)) * (1 - smoothstep(0.35, 0.75, y))
