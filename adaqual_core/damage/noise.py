"""This module adds noise: nine generators, from independent Gaussian noise to grain that a camera's processing has correlated.

Severity (our definition): s = min(1, √(e/50)), where e is the root mean square error in 1/255 that the noise makes nearby (in a
window about 32 px wide): e = 5 gives 0.32, 15 gives 0.55, 25 gives 0.71 and 50 gives 1. The map is measured on the noisy picture:
where noise is stronger in the dark, or is cut off at white, the map says so.

Sources of ranges: Gaussian noise of σ 15, 25 and 50, clipped and truncated to 8 bits (AirNet, Li et al., CVPR 2022; PromptIR,
NeurIPS 2023), here up to σ 60; raw noise whose variance grows with the light (Foi et al., TIP 2008; unprocessing, Brooks et
al., CVPR 2019; CycleISP, Zamir et al., CVPR 2020), row noise (ELD, Wei et al., CVPR 2020), white balance gains of 1.2-2.4
(Brooks et al.); Gaussian σ 1-30 and Poisson noise, in colour and grey (BSRGAN and Real-ESRGAN, ICCV 2021); demosaicing by
bilinear interpolation or with gradient correction (Malvar, He and Cutler, ICASSP 2004); grain that varies with the tone (Newson
et al., 2017).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..filters import gaussian_blur, luma
from .compression import encoded_as
from .draws import Draws
from .fields import colour, encoded, linear_light, local_mean

_WINDOW = 32


def noise(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Add noise with a randomly chosen generator; independent Gaussian noise is chosen in a third of the draws.

    The function takes a picture [3, H, W] in [0, 1] and the severity asked for, in (0, 1]. It returns the noisy picture [3, H, W]
    in [0, 1] and the severity of the noise at every pixel, [1, H, W] in [0, 1].
    """
    name = draws.choose("gaussian", "gaussian", "gaussian", *GENERATORS)
    return GENERATORS[name](picture, severity, draws)


def rms_of(severity: float) -> float:
    """Return the root mean square error that a severity in [0, 1] stands for, as a share of the full range."""
    return severity**2 * 50 / 255


def severity_map(clean: Tensor, noisy: Tensor) -> Tensor:
    """Return the severity [1, H, W] in [0, 1] of the difference of two pictures [3, H, W]."""
    power = local_mean((noisy - clean).square().mean(0, keepdim=True), _WINDOW)
    return (power.clamp_min(0).sqrt() * (255 / 50)).sqrt().clamp(0, 1)


def _finished(picture: Tensor, noisy: Tensor) -> tuple[Tensor, Tensor]:
    """Clip the noisy picture and measure its severity."""
    noisy = noisy.clamp(0, 1)
    return noisy, severity_map(picture, noisy)


def _scaled(grain: Tensor, rms: float) -> Tensor:
    """Return the grain with zero mean and this root mean square; grain that is the same everywhere becomes 0."""
    grain = grain - grain.mean()
    return grain * (rms / grain.square().mean().sqrt().clamp_min(1e-6))


def _gaussian(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Add independent Gaussian noise to all colours; in most draws, truncate the result to 8 bits as published test noise is."""
    noisy = (picture + rms_of(severity) * draws.uniform(0.9, 1.2) * draws.normal(*picture.shape)).clamp(0, 1)
    return _finished(picture, (noisy * 255).floor() / 255 if draws.chance(0.6) else noisy)


def _sensor(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Add shot and read noise in linear light before white balance and a tone curve, which make it strongest in the dark."""
    gains = colour(draws.uniform(1.2, 2.4), 1.0, draws.uniform(1.2, 2.2), picture.device)
    shown = linear_light(picture)
    light = shown / gains
    read = draws.uniform(0.02, 0.5) * light.mean().clamp_min(0.01)
    change = draws.normal(*picture.shape) * (light + read).sqrt()
    if draws.chance(0.2):  # the amplifier of each row adds an error of its own
        change = change + draws.normal(1, picture.shape[1], 1) * read.sqrt() * draws.uniform(0.3, 1.0)
    change = change * gains
    slope = 1 / (2.2 * shown.clamp_min(0.004) ** (1.2 / 2.2))  # of the tone curve
    wanted = rms_of(severity)
    strength = wanted / (change * slope).square().mean().sqrt().clamp_min(1e-6)
    noisy = encoded((shown + strength * change).clamp(0, 1))
    error = (noisy - picture).square().mean().sqrt().clamp_min(1e-6)
    return _finished(picture, encoded((shown + strength * (wanted / error).clamp(0.5, 2) * change).clamp(0, 1)))


def _photons(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Count photons of the encoded values, in colour or in grey, so that the noise is strongest in bright parts."""
    level = (picture if draws.chance(0.7) else luma(picture)).clamp_min(0)
    peak = level.mean().clamp_min(0.02) / rms_of(severity) ** 2
    return _finished(picture, picture + draws.poisson(level * peak) / peak - level)


_CROSS = [[0, 1, 0], [1, 4, 1], [0, 1, 0]]
_SQUARE = [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
_GREEN_AT_OTHER = [[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]
_BESIDE = [[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]]
_ACROSS = [[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]]


def bayer_mosaic(picture: Tensor) -> Tensor:
    """Keep one colour per pixel of [3, H, W] → [1, H, W]: red at even rows and columns, blue at odd ones, green between them."""
    mosaic = picture[1:2].clone()
    mosaic[:, ::2, ::2] = picture[0:1, ::2, ::2]
    mosaic[:, 1::2, 1::2] = picture[2:3, 1::2, 1::2]
    return mosaic


def demosaic_bilinear(mosaic: Tensor) -> Tensor:
    """Interpolate the missing colours of a mosaic [1, H, W] from their nearest neighbours → [3, H, W]."""
    sites = torch.zeros(3, *mosaic.shape[-2:], device=mosaic.device)
    sites[0, ::2, ::2] = 1
    sites[1, ::2, 1::2] = 1
    sites[1, 1::2, ::2] = 1
    sites[2, 1::2, 1::2] = 1
    kernels = torch.tensor([_SQUARE, _CROSS, _SQUARE], dtype=torch.float32, device=mosaic.device)[:, None] / 4
    return F.conv2d((sites * mosaic)[None], kernels, padding=1, groups=3)[0]


def demosaic_gradient_corrected(mosaic: Tensor) -> Tensor:
    """Interpolate the missing colours of a mosaic [1, H, W] with gradient correction (Malvar, He and Cutler) → [3, H, W]."""
    beside = torch.tensor(_BESIDE)
    kernels = torch.stack((torch.tensor(_GREEN_AT_OTHER).float(), beside, beside.T, torch.tensor(_ACROSS))).to(mosaic.device) / 8
    green, along_row, along_column, across = F.conv2d(mosaic[None], kernels[:, None], padding=2)[0]
    found = mosaic.expand(3, -1, -1).clone()
    for own, (row, column) in ((0, (0, 0)), (2, (1, 1))):  # red and blue, and where their own sites begin
        other = (1 - row, 1 - column)
        found[1, row::2, column::2] = green[row::2, column::2]
        found[own, row::2, other[1] :: 2] = along_row[row::2, other[1] :: 2]
        found[own, other[0] :: 2, column::2] = along_column[other[0] :: 2, column::2]
        found[own, other[0] :: 2, other[1] :: 2] = across[other[0] :: 2, other[1] :: 2]
    return found


def _mosaic(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Make noise on the colour mosaic and demosaic it; in half of the draws, smooth its colours as a camera does.

    Demosaicing is linear here, so that the noise alone is demosaiced and the picture keeps its detail.
    """
    raw = draws.normal(1, *picture.shape[-2:]) * (bayer_mosaic(picture) + draws.uniform(0.05, 1.0)).clamp_min(0).sqrt()
    demosaic = draws.choose(demosaic_bilinear, demosaic_gradient_corrected)
    grain = demosaic(raw) * colour(draws.uniform(1.0, 2.0), 1.0, draws.uniform(1.0, 2.0), picture.device)
    if draws.chance(0.5):
        grey = luma(grain)
        blotches = gaussian_blur(grain - grey, draws.uniform(0.5, 2.5))
        grain = _scaled(grey, 1.0) + _scaled(blotches, draws.uniform(0.3, 1.2))
    if draws.chance(0.3):  # the camera's sharpening
        grain = grain + draws.uniform(0.3, 1.0) * (grain - gaussian_blur(grain, 1.0))
    return _finished(picture, picture + _scaled(grain, rms_of(severity)))


def _film(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Add grain of scanned film: clumps of one or two sizes, mostly grey, strongest in the middle tones.

    Stronger grain is finer: coarse and strong grain is on no film that was worth scanning.
    """
    shape = picture.shape if draws.chance(0.3) else (1, *picture.shape[-2:])
    grain = torch.zeros(shape, device=picture.device)
    for _ in range(draws.choose(1, 2, 2)):
        grain = grain + _scaled(
            gaussian_blur(draws.normal(*shape), draws.uniform(0.4, 1.8 - 0.8 * severity)), draws.uniform(0.4, 1.0)
        )
    tone = luma(picture)
    response = (4 * tone * (1 - tone)).clamp_min(0).sqrt() + draws.uniform(0.1, 0.8)
    return _finished(picture, picture + _scaled(grain * response, rms_of(severity)))


def _resampled(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Add noise that was scaled with its picture: make it on another grid and resample it to this one."""
    height, width = picture.shape[-2:]
    factor = draws.log_uniform(0.45, 1.8)
    grid = (max(4, round(height * factor)), max(4, round(width * factor)))
    grain = draws.normal(1, 3 if draws.chance(0.7) else 1, *grid)
    mode = draws.choose("bilinear", "bicubic")
    grain = F.interpolate(grain, (height, width), mode=mode, antialias=factor > 1, align_corners=False)[0]
    return _finished(picture, picture + _scaled(grain, rms_of(severity)))


def _compressed(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Add noise that JPEG has changed: its blocks keep coarse waves of the noise and lose fine ones and most of its colour.

    The noise alone is compressed, on grey and at least 10/255 strong, because weaker noise does not survive; then it is scaled.
    """
    grey = (0.5 + max(rms_of(severity), 10 / 255) * draws.normal(*picture.shape)).clamp(0, 1)
    grain = encoded_as(grey, "JPEG", quality=int(draws.uniform(20, 90)), subsampling=draws.choose(0, 2))
    return _finished(picture, picture + _scaled(grain, rms_of(severity)))


def _impulse(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Replace single pixels by black, white or any value (salt and pepper, dead pixels), in all colours together or in each."""
    colours = draws.choose(1, 3)
    value = draws.rand(colours, *picture.shape[-2:])
    if draws.chance(0.7):
        value = (value < draws.uniform(0.2, 0.8)).float()
    share = rms_of(severity) ** 2 / (value - picture).square().mean().clamp_min(0.01)
    hit = draws.rand(colours, *picture.shape[-2:]) < share
    return _finished(picture, torch.where(hit, value, picture))


def _one_colour(picture: Tensor, severity: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Add Gaussian noise mostly to one colour, or the same to all three."""
    grain = draws.normal(1, *picture.shape[-2:])
    weights = [1.0, 1.0, 1.0]
    if draws.chance(0.6):
        weights = [draws.uniform(0.0, 0.3) for _ in range(3)]
        weights[draws.choose(0, 1, 2)] = 1.0
    return _finished(picture, picture + _scaled(grain * colour(*weights, device=picture.device), rms_of(severity)))


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
"""The generators of noise by name."""
