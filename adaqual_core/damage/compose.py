"""Compositions of damage, even or through a region mask, seen directly or through a camera, with their exact severity by kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..kinds import KINDS
from .blur import blur
from .camera import denoised, enlarged, looked, random_camera, reduced
from .compression import compress
from .draws import Draws
from .haze import haze
from .low_light import low_light
from .noise import noise
from .rain import rain
from .raindrops import raindrops
from .snow import snow

Generator = Callable[[Tensor, float, Draws], tuple[Tensor, Tensor]]

GENERATORS: dict[str, Generator] = {
    "low": low_light,
    "rain": rain,
    "snow": snow,
    "haze": haze,
    "raindrops": raindrops,
    "blur": blur,
    "noise": noise,
    "jpeg": compress,
}
"""Kind → its generator, in the order in which damage is applied."""

_FILE = "jpeg"


@dataclass(frozen=True)
class Degraded:
    """A degraded picture [3, H, W] in [0, 1] and its overall severity [1, H, W] in [0, 1], 0 exactly where it is untouched."""

    picture: Tensor
    severity: Tensor


@dataclass(frozen=True)
class DegradedBatch:
    """Degraded pictures [B, 3, H, W] in [0, 1] and what is known of them.

    ``clean`` [B, 3, H, W]: the undamaged scenes as the same camera shows them. ``severity`` [B, 8, H, W] in [0, 1]: by kind, in the order
    of KINDS; 0 for kinds that are absent.
    """

    picture: Tensor
    clean: Tensor
    severity: Tensor


def _apply(kind: str, scene: Tensor, severity: float, seed: int, mask: Tensor) -> tuple[Tensor, Tensor]:
    damaged, done = GENERATORS[kind](scene, severity, Draws(seed, kind, scene.device))
    return torch.where(mask > 0, scene + mask * (damaged - scene), scene), done * mask


def _degrade_one(clean: Tensor, severities: list[float], seed: int, masks: Tensor, camera: bool) -> tuple[Tensor, Tensor, Tensor]:
    """One picture [3, H, W] with masks [8, H, W]: degraded, clean and severity [8, H, W]."""
    height, width = clean.shape[-2:]
    lens = random_camera(Draws(seed, "camera", clean.device)) if camera else None
    truth = enlarged(clean, lens) if lens else clean
    if truth.shape != clean.shape:
        masks = torch.nn.functional.interpolate(masks[None], truth.shape[-2:], mode="bilinear", align_corners=False)[0]
    scene, severity = truth, torch.zeros(len(KINDS), *truth.shape[-2:], device=clean.device)
    for index, kind in enumerate(KINDS):
        if severities[index] > 0 and kind != _FILE:
            scene, done = _apply(kind, scene, severities[index], seed, masks[index : index + 1])
            severity[index] = done[0]
    if lens:
        scene, truth = (reduced(looked(picture, lens), height, width) for picture in (denoised(scene, lens), truth))
        severity, masks = reduced(severity, height, width), reduced(masks, height, width)
    index = KINDS.index(_FILE)
    if severities[index] > 0:
        scene, done = _apply(_FILE, scene, severities[index], seed, masks[index : index + 1])
        severity[index] = done[0]
    return scene, truth, severity


def degrade_batch(
    clean: Tensor, severities: Tensor, seeds: Sequence[int], masks: Tensor | None = None, camera: Sequence[bool] | None = None
) -> DegradedBatch:
    """Damage pictures [B, 3, H, W] in [0, 1], on their device, with the kinds and severities asked for.

    ``severities`` [B, 8] in [0, 1] in the order of KINDS, 0 for kinds that are absent. ``seeds``: one number per picture; the draws of
    each kind depend on the seed and the kind alone, so leaving a kind out leaves all others as they were. ``masks`` [B, 1, H, W] for
    all kinds or [B, 8, H, W] limit the damage to a region. ``camera``: which pictures are seen through a camera of their own.
    """
    count, _, height, width = clean.shape
    if masks is None:
        masks = torch.ones(count, 1, height, width, device=clean.device)
    shown = [False] * count if camera is None else camera
    asked = severities.tolist()
    parts = [
        _degrade_one(clean[i], asked[i], seeds[i], masks[i].expand(len(KINDS), -1, -1), shown[i]) for i in range(count)
    ]
    return DegradedBatch(*(torch.stack(part) for part in zip(*parts, strict=True)))


def degrade(
    picture: Tensor, kinds: Sequence[str], severity: float = 0.6, *, seed: int = 0, mask: Tensor | None = None
) -> Degraded:
    """Damage ``picture`` [3, H, W] in [0, 1] with every kind of ``kinds`` at ``severity`` in [0, 1].

    ``mask`` [1, H, W] in [0, 1] limits the damage to a region, with soft borders where it is between 0 and 1. The overall severity of
    a pixel is our definition: 1 − Π(1 − s) over the severities s of the kinds. The same seed gives the same picture.
    """
    if picture.ndim != 3 or picture.shape[0] != 3:
        raise ValueError(f"picture: shape {tuple(picture.shape)}; give one picture as [3, H, W] in [0, 1]")
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise ValueError(f"kinds: {', '.join(unknown) or 'none given'}; choose from {', '.join(KINDS)}")
    if not 0 <= severity <= 1:
        raise ValueError(f"severity: {severity}; give a number from 0 (untouched) to 1 (worst)")
    height, width = picture.shape[-2:]
    if mask is not None and mask.shape != (1, height, width):
        raise ValueError(f"mask: shape {tuple(mask.shape)}; give [1, {height}, {width}], the picture's size")
    if severity == 0:
        return Degraded(picture.clone(), torch.zeros(1, height, width))
    asked = torch.tensor([[severity if kind in kinds else 0.0 for kind in KINDS]])
    region = None if mask is None else mask[None].float().cpu()
    found = degrade_batch(picture[None].float().cpu(), asked, [seed], region)
    return Degraded(found.picture[0], 1 - (1 - found.severity[0]).prod(0, keepdim=True))
