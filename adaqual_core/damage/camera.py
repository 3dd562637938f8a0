"""This module is the camera through which damaged scenes are seen (our definition).

If the same processing always followed a kind of damage, a network would learn both as one thing. So a camera has a look of its
own (white balance, tone curve, saturation), it scales its pictures down, it reduces their noise, and it writes JPEG files of good
quality. Look and scale are no damage: the clean picture gets them as well. Noise that noise reduction leaves, and detail that it
smears, count as noise. The file counts as JPEG of its quality.

Sources of ranges: white balance, gamma, contrast and saturation vary by a few percent to a quarter, as between the presets of one
raw developer (our choice); qualities 85-97 are those at which cameras and phones save.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..filters import gaussian_blur, luma
from .draws import Draws
from .fields import colour


@dataclass(frozen=True)
class Camera:
    """This class is the processing of one camera.

    ``gains`` [3, 1, 1]: white balance, factors of encoded values. ``gamma``: exponent of encoded values. ``contrast``: share of a
    cubic S-curve, negative for a flatter curve. ``saturation``: factor of the distance from grey. ``scale``: factor ≥ 1 by which
    the scene is larger than the picture. ``brightness_sigma`` and ``colour_sigma``: standard deviations in px of the noise
    reduction, 0 for none. ``quality``: JPEG quality of the file, or None if the file loses nothing.
    """

    gains: Tensor
    gamma: float
    contrast: float
    saturation: float
    scale: float
    brightness_sigma: float
    colour_sigma: float
    quality: int | None


def random_camera(draws: Draws) -> Camera:
    """Draw a camera with a mild look. Half of the cameras scale, 60 % reduce noise and half lose something in their files."""
    reduces = draws.chance(0.6)
    return Camera(
        gains=colour(draws.uniform(0.94, 1.06), 1.0, draws.uniform(0.94, 1.06), draws.device),
        gamma=draws.log_uniform(0.85, 1.18),
        contrast=draws.uniform(-0.15, 0.35),
        saturation=draws.uniform(0.8, 1.25),
        scale=draws.uniform(1.1, 1.4) if draws.chance(0.5) else 1.0,
        brightness_sigma=draws.uniform(0.0, 0.8) if reduces else 0.0,
        colour_sigma=draws.uniform(0.0, 2.5) if reduces else 0.0,
        quality=round(draws.uniform(85, 97)) if draws.chance(0.5) else None,
    )


def enlarged(field: Tensor, camera: Camera) -> Tensor:
    """Return a picture or mask [C, H, W] in [0, 1] at the size of the camera's scene; :func:`shown` brings a picture back."""
    if camera.scale == 1:
        return field
    size = [round(side * camera.scale) for side in field.shape[-2:]]
    return F.interpolate(field[None], size, mode="bicubic", align_corners=False)[0].clamp(0, 1)


def reduced(field: Tensor, height: int, width: int) -> Tensor:
    """Return a picture or map [C, H', W'] in [0, 1] scaled to [C, height, width] without aliasing."""
    if tuple(field.shape[-2:]) == (height, width):
        return field
    return F.interpolate(field[None], (height, width), mode="bicubic", antialias=True, align_corners=False)[0].clamp(0, 1)


def shown(scene: Tensor, camera: Camera, height: int, width: int) -> Tensor:
    """Return a scene [3, H', W'] in [0, 1] as the camera shows it: scaled to [3, height, width], with its tones and colours."""
    light = (reduced(scene, height, width) * camera.gains).clamp(0, 1) ** camera.gamma
    light = light + camera.contrast * (light * light * (3 - 2 * light) - light)
    grey = luma(light)
    return (grey + camera.saturation * (light - grey)).clamp(0, 1)


def denoised(picture: Tensor, camera: Camera) -> Tensor:
    """Return a picture [3, H, W] in [0, 1] after the camera's noise reduction.

    Colour is smoothed everywhere, brightness away from edges. An edge is where two Gaussian blurs of the brightness differ.
    """
    if camera.brightness_sigma == 0 and camera.colour_sigma == 0:
        return picture
    grey = luma(picture)
    hue = gaussian_blur(picture - grey, camera.colour_sigma)
    smooth = gaussian_blur(grey, camera.brightness_sigma)
    edge = ((gaussian_blur(grey, 1.0) - gaussian_blur(grey, 2.0)).abs() * 12).clamp(0, 1)
    return (torch.lerp(smooth, grey, edge) + hue).clamp(0, 1)
