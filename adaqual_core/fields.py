"""Random scalar fields, masks and filters that the degradations are drawn from (our definitions).

Everything is float32 on the CPU, seeded by a ``torch.Generator``; fields are [1, H, W] in [0, 1].
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    """One number from U(low, high)."""
    return low + (high - low) * torch.rand((), generator=generator).item()


def choose(generator: torch.Generator, *options):
    """One of the options, all equally likely."""
    return options[int(torch.randint(len(options), (), generator=generator))]


def octave_noise(height: int, width: int, generator: torch.Generator, *, cells: int = 2, octaves: int = 4) -> Tensor:
    """Smooth fractal noise [1, H, W] stretched to exactly [0, 1]: random grids of ``cells``·2^k, each half as strong."""
    field = torch.zeros(1, height, width)
    for k in range(octaves):
        n = cells * 2**k
        if n > 2 * max(height, width):
            break
        shape = (1, 1, max(2, n * height // max(height, width) + 1), max(2, n * width // max(height, width) + 1))
        grid = torch.rand(shape, generator=generator)
        field += F.interpolate(grid, (height, width), mode="bilinear", align_corners=True)[0] * 0.5**k
    span = field.max() - field.min()
    return (field - field.min()) / span if span > 0 else field.zero_()


def ramp(height: int, width: int, angle: float) -> Tensor:
    """Linear ramp [1, H, W] over [0, 1] that rises along ``angle`` (radians, 0 = to the right, π/2 = downwards)."""
    y = torch.linspace(-1, 1, height).view(1, -1, 1)
    x = torch.linspace(-1, 1, width).view(1, 1, -1)
    plane = x * math.cos(angle) + y * math.sin(angle)
    reach = abs(math.cos(angle)) + abs(math.sin(angle))
    return (plane / reach + 1) / 2


def box_filter(field: Tensor, radius: int) -> Tensor:
    """Mean over a (2·radius+1)² window of [C, H, W]; the border averages only what lies inside."""
    if radius < 1:
        return field
    k = 2 * radius + 1
    across = F.avg_pool2d(field[None], (1, k), 1, (0, radius), count_include_pad=False)
    return F.avg_pool2d(across, (k, 1), 1, (radius, 0), count_include_pad=False)[0]


def guided_filter(guide: Tensor, field: Tensor, radius: int, epsilon: float = 1e-3) -> Tensor:
    """Edge-aware smoothing of ``field`` [1, H, W] along ``guide`` [1, H, W] (He et al., guided image filtering)."""
    mean_g, mean_f = box_filter(guide, radius), box_filter(field, radius)
    cov = box_filter(guide * field, radius) - mean_g * mean_f
    var = box_filter(guide * guide, radius) - mean_g * mean_g
    slope = cov / (var + epsilon)
    offset = mean_f - slope * mean_g
    return box_filter(slope, radius) * guide + box_filter(offset, radius)


def gaussian_blur(picture: Tensor, sigma: float) -> Tensor:
    """Separable Gaussian blur of [C, H, W], standard deviation in px, borders replicated."""
    if sigma < 0.05:
        return picture
    radius = max(1, math.ceil(3 * sigma))
    x = torch.arange(-radius, radius + 1, dtype=picture.dtype, device=picture.device)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(picture[None], (radius, radius, radius, radius), mode="replicate").transpose(0, 1)
    padded = F.conv2d(padded, kernel.view(1, 1, 1, -1))
    return F.conv2d(padded, kernel.view(1, 1, -1, 1)).transpose(0, 1)[0]


def convolve(field: Tensor, kernel: Tensor) -> Tensor:
    """'Same' convolution of [C, H, W] with a kernel [kh, kw] by FFT; outside the picture the field is periodic."""
    height, width = field.shape[-2:]
    kh, kw = kernel.shape
    wrapped = torch.zeros(height, width)
    for rows in range(0, kh, height):  # a kernel larger than the picture wraps around as the field does
        for cols in range(0, kw, width):
            part = kernel[rows : rows + height, cols : cols + width]
            wrapped[: part.shape[0], : part.shape[1]] += part
    wrapped = torch.roll(wrapped, (-(kh // 2), -(kw // 2)), (0, 1))
    return torch.fft.irfft2(torch.fft.rfft2(field) * torch.fft.rfft2(wrapped), s=(height, width))


def disk_kernel(radius: float, softness: float = 1.0) -> Tensor:
    """Anti-aliased disk [k, k] with value 1 inside and an edge ``softness`` px wide."""
    r = math.ceil(radius + softness)
    x = torch.arange(-r, r + 1, dtype=torch.float32)
    distance = (x.view(-1, 1) ** 2 + x.view(1, -1) ** 2).sqrt()
    return ((radius - distance) / softness + 0.5).clamp(0, 1)


def line_kernel(length: float, angle: float, thickness: float = 1.0) -> Tensor:
    """Anti-aliased line [k, k] through the centre, ``angle`` in radians from vertical, tapered at both ends."""
    r = max(1, math.ceil(length / 2 + thickness))
    x = torch.arange(-r, r + 1, dtype=torch.float32)
    yy, xx = x.view(-1, 1), x.view(1, -1)
    along = xx * math.sin(angle) + yy * math.cos(angle)
    across = xx * math.cos(angle) - yy * math.sin(angle)
    body = (thickness / 2 - across.abs() + 0.5).clamp(0, 1)
    return body * (1 - (2 * along.abs() / length) ** 2).clamp(0, 1)


def region_mask(height: int, width: int, generator: torch.Generator) -> Tensor:
    """Soft region [1, H, W] in [0, 1]: half planes, ellipses, rectangles or blobs, each with a border of random width."""
    shape = choose(generator, "plane", "ellipse", "rectangle", "blobs")
    softness = 10 ** uniform(generator, -2.0, -0.6)
    if shape == "plane":
        field = ramp(height, width, uniform(generator, 0, 2 * math.pi)) - uniform(generator, 0.3, 0.7)
    elif shape == "blobs":
        field = octave_noise(height, width, generator, cells=2, octaves=3) - uniform(generator, 0.35, 0.65)
    else:
        y = torch.linspace(0, 1, height).view(1, -1, 1)
        x = torch.linspace(0, 1, width).view(1, 1, -1)
        dy = (y - uniform(generator, 0.1, 0.9)).abs() / uniform(generator, 0.15, 0.5)
        dx = (x - uniform(generator, 0.1, 0.9)).abs() / uniform(generator, 0.15, 0.5)
        field = 1 - ((dx**2 + dy**2).sqrt() if shape == "ellipse" else torch.maximum(dx, dy))
        field = field * 0.3
    mask = (field / softness + 0.5).clamp(0, 1)
    mask = mask * mask * (3 - 2 * mask)
    return 1 - mask if choose(generator, True, False) else mask
