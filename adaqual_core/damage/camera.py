"""Behind any camera: processing that belongs to a picture's look and is no damage (our definition).

Damage seen through a camera has been denoised, put through the camera's own tone curve and colours, and resampled. Damage that always
came without such processing would be learnt together with its absence.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..filters import gaussian_blur
from .draws import Draws
from .fields import luma


@dataclass(frozen=True)
class Camera:
    """A camera's look: ``gamma``, ``contrast`` of an S-curve, ``saturation``, white balance ``gains`` [3, 1, 1], the strength of its
    noise reduction for brightness and colour (standard deviations in px), and the factor by which it resamples."""

    gamma: float
    contrast: float
    saturation: float
    gains: Tensor
    brightness_sigma: float
    colour_sigma: float
    scale: float


def random_camera(draws: Draws) -> Camera:
    """A camera with a mild look of its own."""
    gains = torch.tensor([draws.uniform(0.94, 1.06), 1.0, draws.uniform(0.94, 1.06)], device=draws.device).view(3, 1, 1)
    reduces = draws.chance(0.6)
    return Camera(
        gamma=draws.log_uniform(0.85, 1.18),
        contrast=draws.uniform(-0.15, 0.35),
        saturation=draws.uniform(0.8, 1.25),
        gains=gains,
        brightness_sigma=draws.uniform(0.0, 0.6) if reduces else 0.0,
        colour_sigma=draws.uniform(0.0, 2.5) if reduces else 0.0,
        scale=draws.uniform(1.0, 1.6) if draws.chance(0.5) else 1.0,
    )


def looked(picture: Tensor, camera: Camera) -> Tensor:
    """A picture [3, H, W] in [0, 1] with the camera's tone curve and colours."""
    shown = (picture.clamp(0, 1) * camera.gains).clamp(0, 1) ** camera.gamma
    curve = shown * shown * (3 - 2 * shown)
    shown = shown + camera.contrast * (curve - shown)
    grey = luma(shown)
    return (grey + camera.saturation * (shown - grey)).clamp(0, 1)


def denoised(picture: Tensor, camera: Camera) -> Tensor:
    """A picture [3, H, W] after the camera's noise reduction: smooth where there is no edge, colour smoother than brightness."""
    if camera.brightness_sigma == 0 and camera.colour_sigma == 0:
        return picture
    grey = luma(picture)
    colour = gaussian_blur(picture - grey, camera.colour_sigma)
    smooth = gaussian_blur(grey, camera.brightness_sigma)
    edge = ((gaussian_blur(grey, 1.0) - gaussian_blur(grey, 2.0)).abs() * 12).clamp(0, 1)
    return (smooth + edge * (grey - smooth) + colour).clamp(0, 1)


def enlarged(picture: Tensor, camera: Camera) -> Tensor:
    """A clean picture at the size at which the camera's scene is made; :func:`reduced` brings it back."""
    if camera.scale == 1:
        return picture
    size = [round(side * camera.scale) for side in picture.shape[-2:]]
    return F.interpolate(picture[None], size, mode="bicubic", align_corners=False)[0].clamp(0, 1)


def reduced(field: Tensor, height: int, width: int) -> Tensor:
    """A picture or field [C, H', W'] resampled to [C, height, width] with antialiasing."""
    if tuple(field.shape[-2:]) == (height, width):
        return field
    return F.interpolate(field[None], (height, width), mode="bilinear", antialias=True, align_corners=False)[0].clamp(0, 1)
