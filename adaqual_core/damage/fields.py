"""This module holds the random fields, masks and filters that the damage generators share (our definitions).

Fields are float32 tensors [1, H, W] with values in [0, 1] unless a docstring says otherwise. Random functions take a ``Draws``
and return tensors on its device; all other functions work on the device of their input.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..filters import box_filter, gaussian_blur, smoothstep
from .draws import Draws


def colour(red: float, green: float, blue: float, device: torch.device) -> Tensor:
    """Return a colour as a tensor [3, 1, 1], which broadcasts against a picture."""
    return torch.tensor((red, green, blue), dtype=torch.float32, device=device).view(3, 1, 1)


def linear_light(encoded: Tensor) -> Tensor:
    """Turn encoded values in [0, 1] into linear light by a power of 2.2."""
    return encoded**2.2


def encoded(light: Tensor) -> Tensor:
    """Turn linear light ≥ 0 into encoded values by a power of 1/2.2, which inverts :func:`linear_light`."""
    return light.clamp_min(1e-7) ** (1 / 2.2)


def axes(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the vertical and horizontal positions from 0 to 1 as tensors [1, H, 1] and [1, 1, W]."""
    y = torch.linspace(0, 1, height, device=device).view(1, -1, 1)
    x = torch.linspace(0, 1, width, device=device).view(1, 1, -1)
    return y, x


def octave_noise(height: int, width: int, draws: Draws, *, cells: int = 2, octaves: int = 4, persistence: float = 0.5) -> Tensor:
    """Return smooth fractal noise [1, H, W], stretched to exactly [0, 1].

    The coarsest grid has ``cells`` cells along the longer side; each further octave has twice as many and is ``persistence``
    times as strong. Octaves finer than two pixels are left out.
    """
    longer = max(height, width)
    n, strength = cells, 1.0
    field = draws.rand(1, 1, max(2, n * height // longer + 1), max(2, n * width // longer + 1))
    for _ in range(octaves - 1):
        n, strength = 2 * n, strength * persistence
        if n > longer:
            break
        shape = (max(2, n * height // longer + 1), max(2, n * width // longer + 1))
        field = F.interpolate(field, shape, mode="bicubic", align_corners=True)
        field = field + strength * (draws.rand(1, 1, *shape) - 0.5)
    field = enlarge(field[0], height, width)
    low, high = field.amin(), field.amax()
    return (field - low) / (high - low).clamp_min(1e-6)


def enlarge(field: Tensor, height: int, width: int) -> Tensor:
    """Enlarge a coarse field [C, h, w] smoothly to [C, H, W], corner to corner.

    The enlargement is bicubic up to a quarter of the size and bilinear from there, which is much cheaper than bicubic alone.
    """
    middle = (min(height, max(field.shape[-2], height // 4)), min(width, max(field.shape[-1], width // 4)))
    if middle != tuple(field.shape[-2:]):
        field = F.interpolate(field[None], middle, mode="bicubic", align_corners=True)[0]
    return F.interpolate(field[None], (height, width), mode="bilinear", align_corners=True)[0]


def ramp(height: int, width: int, angle: float, device: torch.device) -> Tensor:
    """Return a linear ramp [1, H, W] over [0, 1] that rises along ``angle`` (radians, 0 = to the right, π/2 = downwards)."""
    y, x = axes(height, width, device)
    plane = (2 * x - 1) * math.cos(angle) + (2 * y - 1) * math.sin(angle)
    return (plane / (abs(math.cos(angle)) + abs(math.sin(angle))) + 1) / 2


def local_mean(field: Tensor, window: float) -> Tensor:
    """Return the mean of [C, H, W] over windows about ``window`` px wide, computed on cells an eighth of the window wide.

    The result is positive at every pixel where a field ≥ 0 is positive, and 0 where the field is 0 all around.
    """
    height, width = field.shape[-2:]
    cell = max(1, round(window / 8))
    small = F.adaptive_avg_pool2d(field, (math.ceil(height / cell), math.ceil(width / cell)))
    return F.interpolate(box_filter(small, 4)[None], (height, width), mode="bilinear", align_corners=False)[0]


def guided_filter(guide: Tensor, field: Tensor, radius: int, epsilon: float = 1e-3) -> Tensor:
    """Smooth ``field`` [1, H, W] within windows of ``radius`` px, but not across edges of ``guide`` [1, H, W].

    This is the fast guided filter (He and Sun, arXiv 1505.00996). The local linear model is fitted on a grid that is a fourth of
    the radius coarse and applied at full size.
    """
    height, width = guide.shape[-2:]
    step = max(1, radius // 4)
    shape = (math.ceil(height / step), math.ceil(width / step))
    small_guide, small_field = F.adaptive_avg_pool2d(guide, shape), F.adaptive_avg_pool2d(field, shape)
    pairs = torch.cat((small_guide, small_field, small_guide * small_field, small_guide * small_guide))
    mean_guide, mean_field, mean_product, mean_square = box_filter(pairs, max(1, round(radius / step)))
    slope = (mean_product - mean_guide * mean_field) / (mean_square - mean_guide * mean_guide + epsilon)
    model = torch.stack((slope, mean_field - slope * mean_guide))
    model = F.interpolate(box_filter(model, max(1, round(radius / step)))[None], (height, width), mode="bilinear")[0]
    return model[:1] * guide + model[1:]


def percentiles(field: Tensor, *shares: float) -> list[float]:
    """Return the values that these shares of a field's pixels [1, H, W] stay below, read off every fourth row and column."""
    ordered = field[0, ::4, ::4].flatten().sort().values
    return ordered[[min(len(ordered) - 1, int(share * len(ordered))) for share in shares]].tolist()


def wide_blur(picture: Tensor, sigma: float) -> Tensor:
    """Blur [C, H, W] with a Gaussian of large standard deviation ``sigma`` in px, approximately, on a coarse and cheap grid."""
    step = max(1, int(sigma / 2))
    if step == 1:
        return gaussian_blur(picture, sigma)
    height, width = picture.shape[-2:]
    small = F.adaptive_avg_pool2d(picture, (math.ceil(height / step), math.ceil(width / step)))
    return F.interpolate(gaussian_blur(small, sigma / step)[None], (height, width), mode="bilinear", align_corners=False)[0]


def convolve(field: Tensor, kernel: Tensor) -> Tensor:
    """Convolve [C, H, W] with a kernel [kh, kw] by FFT and keep the size; outside the picture the field is periodic."""
    height, width = field.shape[-2:]
    kh, kw = kernel.shape
    wrapped = torch.zeros(height, width, device=field.device)
    for rows in range(0, kh, height):  # a kernel larger than the picture wraps around as the field does
        for cols in range(0, kw, width):
            part = kernel[rows : rows + height, cols : cols + width]
            wrapped[: part.shape[0], : part.shape[1]] += part
    wrapped = torch.roll(wrapped, (-(kh // 2), -(kw // 2)), (0, 1))
    return torch.fft.irfft2(torch.fft.rfft2(field) * torch.fft.rfft2(wrapped), s=(height, width))


def line_kernel(length: float, angle: float, thickness: float = 1.0, device: torch.device | str = "cpu") -> Tensor:
    """Return an anti-aliased line [k, k] through the centre that tapers at both ends; ``angle`` is in radians from vertical."""
    r = max(1, math.ceil(length / 2 + thickness))
    x = torch.arange(-r, r + 1, dtype=torch.float32, device=device)
    yy, xx = x.view(-1, 1), x.view(1, -1)
    along = xx * math.sin(angle) + yy * math.cos(angle)
    across = xx * math.cos(angle) - yy * math.sin(angle)
    body = (thickness / 2 - across.abs() + 0.5).clamp(0, 1)
    return body * (1 - (2 * along.abs() / length) ** 2).clamp(0, 1)


def region_mask(height: int, width: int, draws: Draws) -> Tensor:
    """Return a soft region [1, H, W] in [0, 1]: a half plane, ellipse, rectangle or blobs, with a border of random width."""
    shape = draws.choose("plane", "ellipse", "rectangle", "blobs")
    softness = 10 ** draws.uniform(-2.0, -0.6)
    if shape == "plane":
        field = ramp(height, width, draws.uniform(0, 2 * math.pi), draws.device) - draws.uniform(0.3, 0.7)
    elif shape == "blobs":
        field = octave_noise(height, width, draws, cells=2, octaves=3) - draws.uniform(0.35, 0.65)
    else:
        y, x = axes(height, width, draws.device)
        dy = (y - draws.uniform(0.1, 0.9)).abs() / draws.uniform(0.15, 0.5)
        dx = (x - draws.uniform(0.1, 0.9)).abs() / draws.uniform(0.15, 0.5)
        field = 1 - ((dx**2 + dy**2).sqrt() if shape == "ellipse" else torch.maximum(dx, dy))
        field = field * 0.3
    mask = smoothstep(-0.5, 0.5, field / softness)
    return 1 - mask if draws.chance(0.5) else mask
