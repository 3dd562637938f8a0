"""Camera and file damage: noise, blur with resampling, JPEG (ranges of BSRGAN and Real-ESRGAN, method.md section 6).

Every function takes a picture [3, H, W] in [0, 1], a severity in (0, 1] and a ``torch.Generator`` and returns a
picture of the same shape.
"""

import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .fields import choose, convolve, disk_kernel, gaussian_blur, line_kernel, uniform


def noise(picture: Tensor, severity: float, generator: torch.Generator) -> Tensor:
    """Gaussian noise of 1-30/255, colour or grey, fine or coarse, and signal-dependent (Poisson) noise."""
    mode = choose(generator, "gauss", "gauss", "poisson", "both")
    noisy = picture
    if mode != "gauss":
        peak = 2000 * 0.02 ** (severity * uniform(generator, 0.7, 1.0))
        noisy = torch.poisson(noisy.clamp_min(0) * peak, generator=generator) / peak
    if mode != "poisson":
        sigma = (1 + 34 * severity * uniform(generator, 0.6, 1.0)) / 255
        kind = choose(generator, "colour", "colour", "grey", "coarse")
        shape = (1, *picture.shape[-2:]) if kind == "grey" else picture.shape
        grain = torch.randn(shape, generator=generator)
        if kind == "coarse":
            width = uniform(generator, 0.4, 0.9)
            grain = gaussian_blur(grain, width) * (1 + 2.2 * width)
        noisy = noisy + sigma * grain
    return noisy.clamp(0, 1)


def blur(picture: Tensor, severity: float, generator: torch.Generator) -> Tensor:
    """Gaussian (σ 0.2-3 px), defocus or motion blur, or a smaller picture enlarged again (factor 1-4)."""
    mode = choose(generator, "gauss", "gauss", "defocus", "motion", "resample")
    if mode == "gauss":
        return gaussian_blur(picture, 0.2 + 2.8 * severity * uniform(generator, 0.6, 1.0))
    if mode == "resample":
        factor = 1 + 3 * severity * uniform(generator, 0.5, 1.0)
        size = [max(1, round(n / factor)) for n in picture.shape[-2:]]
        how = choose(generator, "bilinear", "bicubic", "area")
        small = F.interpolate(picture[None], size, mode="area" if how == "area" else "bilinear", antialias=how != "area")
        back = "bicubic" if how == "bicubic" else "bilinear"
        return F.interpolate(small, picture.shape[-2:], mode=back)[0].clamp(0, 1)
    if mode == "defocus":
        kernel = disk_kernel(0.6 + 3.5 * severity * uniform(generator, 0.6, 1.0))
    else:
        kernel = line_kernel(2 + 14 * severity * uniform(generator, 0.6, 1.0), uniform(generator, 0, math.pi))
    margin = min(kernel.shape[0] // 2, min(picture.shape[-2:]) - 1)
    padded = F.pad(picture[None], (margin,) * 4, mode="reflect")[0] if margin else picture
    blurred = convolve(padded, kernel / kernel.sum())
    height, width = picture.shape[-2:]
    return blurred[:, margin : margin + height, margin : margin + width].clamp(0, 1)


def jpeg(picture: Tensor, severity: float, generator: torch.Generator) -> Tensor:
    """JPEG at quality 95 (severity 0) to 10 (severity 1), chroma 4:4:4, 4:2:2 or 4:2:0, at times compressed twice."""
    pixels = Image.fromarray((picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
    for _ in range(choose(generator, 1, 1, 2)):
        buffer = io.BytesIO()
        quality = round(min(95.0, max(5.0, 95 - 85 * severity * uniform(generator, 0.85, 1.1))))
        pixels.save(buffer, "JPEG", quality=quality, subsampling=choose(generator, 0, 1, 2, 2))
        pixels = Image.open(buffer).convert("RGB")
    return torch.from_numpy(np.asarray(pixels).copy()).permute(2, 0, 1).float() / 255
