"""Noise: nine generators, from independent Gaussian noise to grain that a camera's processing has correlated.

Severity (our definition): s = min(1, √(e/50)), where e is the root mean square error in 1/255 that the noise makes nearby (a window
of about 32 px): e = 5 gives 0.32, 15 gives 0.55, 25 gives 0.71 and 50 gives 1.

Sources of ranges: Gaussian σ 0-50 (AirNet, PromptIR: clipped and truncated to 8 bits) and up to 60 here; Poisson-Gaussian noise of
raw sensors with signal-dependent variance (Foi et al., TIP 2008; CycleISP, CVPR 2020; ELD, CVPR 2020), mapped through
demosaicing, white balance and a tone curve; σ 1-30 colour and grey (BSRGAN, Real-ESRGAN, ICCV 2021).
"""

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..filters import gaussian_blur
from .draws import Draws
from .fields import encoded, linear_light, local_mean, luma

_WINDOW = 32


def noise(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Noise of one of the generators on a picture.

    Takes a picture [3, H, W] in [0, 1] and the severity asked for, in (0, 1]; returns the noisy picture [3, H, W] in [0, 1] and the
    severity of the noise at every pixel, [1, H, W] in [0, 1].
    """
    name = draws.choose("gaussian", "gaussian", "gaussian", *GENERATORS)
    return GENERATORS[name](picture, severity, draws)


def rms_of(severity: float) -> float:
    """The root mean square error, as a share of the full range, that this severity stands for."""
    return severity**2 * 50 / 255


def severity_map(clean: Tensor, noisy: Tensor) -> Tensor:
    """Severity [1, H, W] of the difference of two pictures [3, H, W]."""
    power = local_mean((noisy - clean).square().mean(0, keepdim=True), _WINDOW)
    return (power.clamp_min(0).sqrt() * (255 / 50)).sqrt().clamp(0, 1)


def _finished(picture: Tensor, noisy: Tensor) -> tuple[Tensor, Tensor]:
    noisy = noisy.clamp(0, 1)
    return noisy, severity_map(picture, noisy)


def _scaled(grain: Tensor, rms: float) -> Tensor:
    """Grain of zero mean with this root mean square."""
    grain = grain - grain.mean()
    return grain * (rms / grain.square().mean().sqrt().clamp_min(1e-6))


def _gaussian(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Independent Gaussian noise of all colours, clipped, and truncated to 8 bits as published test noise is."""
    noisy = (picture + rms_of(severity) * draws.uniform(0.9, 1.2) * draws.normal(*picture.shape)).clamp(0, 1)
    if draws.chance(0.6):
        noisy = (noisy * 255).floor() / 255
    return _finished(picture, noisy)


def _sensor(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Shot and read noise in linear light with white balance gains, seen through a tone curve: strongest in the dark."""
    gains = torch.tensor([draws.uniform(1.2, 2.4), 1.0, draws.uniform(1.2, 2.2)], device=picture.device).view(3, 1, 1)
    light = linear_light(picture) / gains
    read = draws.uniform(0.02, 0.5)
    variance = (light + read * light.mean().clamp_min(0.01)) * gains**2
    shape = draws.normal(*picture.shape) * variance.sqrt()
    slope = 1 / (2.2 * linear_light(picture).clamp_min(0.004) ** (1.2 / 2.2))  # of the tone curve: makes the rms after it right
    strength = rms_of(severity) / (shape * slope).square().mean().sqrt().clamp_min(1e-6)
    return _finished(picture, encoded((light * gains + strength * shape).clamp(0, 1)))


def _photons(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Poisson counts of encoded values, colour or grey, as BSRGAN and Real-ESRGAN draw them."""
    level = picture if draws.chance(0.7) else luma(picture)
    peak = float(level.mean().clamp_min(0.02)) / rms_of(severity) ** 2
    change = draws.poisson(level.clamp_min(0) * peak) / peak - level
    return _finished(picture, picture + change)


def _bayer(picture: Tensor) -> Tensor:
    """One colour per pixel [1, H, W], red at even rows and columns and blue at odd ones."""
    mosaic = picture[1:2].clone()
    mosaic[:, ::2, ::2] = picture[0:1, ::2, ::2]
    mosaic[:, 1::2, 1::2] = picture[2:3, 1::2, 1::2]
    return mosaic


def _demosaiced(mosaic: Tensor) -> Tensor:
    """The three colours [3, H, W] of a mosaic of noise, by normalised bilinear interpolation."""
    where = torch.zeros(3, *mosaic.shape[-2:], device=mosaic.device)
    where[0, ::2, ::2] = 1
    where[2, 1::2, 1::2] = 1
    where[1, ::2, 1::2] = 1
    where[1, 1::2, ::2] = 1
    kernel = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]], device=mosaic.device).expand(3, 1, 3, 3)
    return (F.conv2d((where * mosaic)[None], kernel, padding=1, groups=3) / F.conv2d(where[None], kernel, padding=1, groups=3).clamp_min(1e-6))[0]


def _mosaic(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Noise on the colour mosaic, demosaiced: coarse blotches of colour, finer in brightness, at times softened or sharpened."""
    raw = draws.normal(1, *picture.shape[-2:]) * (_bayer(picture) + draws.uniform(0.05, 1.0)).clamp_min(0).sqrt()
    grain = _demosaiced(raw)
    grain[0] *= draws.uniform(1.0, 2.0)
    grain[2] *= draws.uniform(1.0, 2.0)
    if draws.chance(0.5):  # noise reduction of a camera: colour smoother than brightness
        brightness = luma(grain)
        grain = brightness * draws.uniform(0.5, 1.0) + gaussian_blur(grain - brightness, draws.uniform(0.5, 3.0)) * draws.uniform(1, 3)
    if draws.chance(0.3):
        grain = grain + draws.uniform(0.3, 1.0) * (grain - gaussian_blur(grain, 1.0))
    return _finished(picture, picture + _scaled(grain, rms_of(severity)))


def _film(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Grain of film and of scans: clumps of one or several sizes, mostly grey, strongest in the middle tones."""
    shape = picture.shape if draws.chance(0.4) else luma(picture).shape
    grain = torch.zeros(shape, device=picture.device)
    for _ in range(draws.choose(1, 2, 2)):
        size = draws.uniform(0.4, 1.6)
        grain = grain + _scaled(gaussian_blur(draws.normal(*shape), size), draws.uniform(0.4, 1.0))
    tone = luma(picture)
    response = (4 * tone * (1 - tone)).clamp_min(0).sqrt() + draws.uniform(0.1, 0.8)
    return _finished(picture, picture + _scaled(grain * response, rms_of(severity)))


def _resampled(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Noise that was scaled with its picture: made on another grid, then resampled to this one."""
    height, width = picture.shape[-2:]
    factor = draws.log_uniform(0.45, 1.8)
    grid = (max(4, round(height * factor)), max(4, round(width * factor)))
    channels = 3 if draws.chance(0.7) else 1
    mode = draws.choose("bilinear", "bicubic")
    grain = F.interpolate(draws.normal(1, channels, *grid), (height, width), mode=mode, antialias=factor > 1, align_corners=False)[0]
    return _finished(picture, picture + _scaled(grain, rms_of(severity)))


def _compressed(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Noise that a camera's JPEG has changed: the difference that compression leaves of noise on a grey picture."""
    rms = rms_of(severity)
    grey = 0.5 + rms * draws.normal(*picture.shape)
    pixels = (grey.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=int(draws.uniform(50, 95)), subsampling=draws.choose(0, 2))
    grain = torch.from_numpy(np.asarray(Image.open(buffer).convert("RGB")).copy()).permute(2, 0, 1).float() / 255 - 0.5
    return _finished(picture, picture + _scaled(grain.to(picture.device), rms))


def _impulse(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Salt and pepper, or dead and hot pixels, in all colours together or in each alone."""
    share = min(0.5, 3.5 * rms_of(severity) ** 2)
    colours = 1 if draws.chance(0.5) else 3
    hit = draws.rand(colours, *picture.shape[-2:]) < share
    value = (draws.rand(colours, *picture.shape[-2:]) < draws.uniform(0.2, 0.8)).float()
    if draws.chance(0.3):
        value = draws.rand(colours, *picture.shape[-2:])
    return _finished(picture, torch.where(hit, value, picture))


def _one_colour(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Gaussian noise of one colour alone, or the same in all colours."""
    grain = draws.normal(1, *picture.shape[-2:]).expand(3, -1, -1)
    if draws.chance(0.4):
        weights = [draws.uniform(0.2, 1.0) if i == draws.choose(0, 1, 2) else draws.uniform(0.0, 0.3) for i in range(3)]
        grain = grain * torch.tensor(weights, device=picture.device).clamp_min(0.05).view(3, 1, 1)
    return _finished(picture, picture + _scaled(grain, rms_of(severity)))


GENERATORS = {
    "gaussian": _gaussian,
    "sensor": _sensor,
    "photons": _photons,
    "mosaic": _mosaic,
    "film": _film,
    "resampled": _resampled,
    "compressed": _compressed,
    "impulse": _impulse,
    "one colour": _one_colour,
}
"""Name → generator."""
