"""This module composes kinds of damage, through region masks and behind cameras, and returns the exact severity of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..default_dtype import float32_default
from ..kinds import KINDS
from .blur import blur
from .camera import Camera, denoised, enlarged, random_camera, reduced, shown
from .compression import compress, encoded_as, severity_of_quality
from .draws import Draws
from .haze import haze
from .low_light import low_light
from .noise import noise, severity_map
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
"""The function of each kind, in the order in which damage is applied."""

_BLUR, _NOISE, _FILE = (KINDS.index(kind) for kind in ("blur", "noise", "jpeg"))


@dataclass(frozen=True)
class Degraded:
    """This class holds a degraded picture [3, H, W] in [0, 1] and its overall severity [1, H, W] in [0, 1], 0 exactly where it is
    untouched.
    """

    picture: Tensor
    severity: Tensor


@dataclass(frozen=True)
class DegradedBatch:
    """This class holds degraded pictures [B, 3, H, W] in [0, 1] and what is known of them.

    ``clean`` [B, 3, H, W]: the undamaged scenes as the same camera shows them, which an ideal restorer returns. ``severity``
    [B, 8, H, W] in [0, 1]: the severity by kind, in the order of KINDS; 0 for kinds that are absent. Behind a camera whose file
    loses something, JPEG is present.
    """

    picture: Tensor
    clean: Tensor
    severity: Tensor


def _damaged(index: int, scene: Tensor, severities: list[float], seed: int) -> tuple[Tensor, Tensor]:
    """Damage a whole scene with kind number ``index``, or leave it if its severity is 0."""
    if severities[index] == 0:
        return scene, torch.zeros_like(scene[:1])
    kind = KINDS[index]
    return GENERATORS[kind](scene, severities[index], Draws(seed, kind, scene.device))


def _mask_of(masks: Tensor, index: int) -> Tensor:
    """Return the mask [1, H, W] of kind number ``index`` from masks [1 or 8, H, W]."""
    return masks[index % len(masks)][None]


def _direct(clean: Tensor, severities: list[float], seed: int, masks: Tensor, last: int) -> tuple[Tensor, list[Tensor]]:
    """Apply the kinds before number ``last``; return the scene and their severities [1, H, W].

    A mixture is exactly the scene where the mask is 0 and exactly the damaged scene where it is 1.
    """
    scene, maps = clean, []
    for index in range(last):
        mask = _mask_of(masks, index)
        damaged, done = _damaged(index, scene, severities, seed)
        scene = scene if damaged is scene else torch.lerp(scene, damaged, mask)
        maps.append(done * mask)
    return scene, maps


def _behind(
    camera: Camera, clean: Tensor, severities: list[float], seed: int, masks: Tensor
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Apply all kinds but JPEG in front of or inside a camera; return what it shows, damaged and clean, and the severities.

    Blur is narrower by the camera's scale. Noise is reduced by the camera, and measured on what it shows, before the file.
    """
    size = clean.shape[-2:]
    truth, masks = enlarged(clean, camera), enlarged(masks, camera)
    scene, maps = _direct(truth, severities, seed, masks, _NOISE)
    maps = [reduced(done, *size) for done in maps]
    maps[_BLUR] = maps[_BLUR] / camera.scale**0.5
    picture, clean = shown(scene, camera, *size), shown(truth, camera, *size)
    done = torch.zeros_like(picture[:1])
    if severities[_NOISE] > 0:
        mask = _mask_of(masks, _NOISE)
        noisy = denoised(_damaged(_NOISE, scene, severities, seed)[0], camera)
        done = severity_map(picture, shown(noisy, camera, *size)) * reduced(mask, *size)
        picture = shown(torch.lerp(scene, noisy, mask), camera, *size)
    maps.append(done)
    if camera.quality is None:
        return picture, clean, [*maps, torch.zeros_like(done)]
    file = torch.full_like(done, severity_of_quality(camera.quality))
    return encoded_as(picture, "JPEG", quality=camera.quality), clean, [*maps, file]


def _degrade_one(
    clean: Tensor, severities: list[float], seed: int, masks: Tensor, behind_camera: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Damage one picture [3, H, W] through masks [1 or 8, H, W]; return it, the clean picture and the severity [8, H, W]."""
    if behind_camera:
        camera = random_camera(Draws(seed, "camera", clean.device))
        scene, truth, maps = _behind(camera, clean, severities, seed, masks)
    else:
        truth = clean
        scene, maps = _direct(clean, severities, seed, masks, _FILE)
        maps.append(torch.zeros_like(clean[:1]))
    mask = _mask_of(masks, _FILE)
    damaged, done = _damaged(_FILE, scene, severities, seed)
    maps[_FILE] = torch.maximum(maps[_FILE], done * mask)
    return torch.lerp(scene, damaged, mask), truth, torch.cat(maps)


@float32_default()
def degrade_batch(
    clean: Tensor,
    severities: Tensor,
    seeds: Sequence[int],
    masks: Tensor | None = None,
    camera: Sequence[bool] | None = None,
) -> DegradedBatch:
    """Damage pictures [B, 3, H, W] in [0, 1], on their device, with the kinds and severities asked for.

    ``severities`` [B, 8] in [0, 1] are in the order of KINDS, 0 for kinds that are absent. ``seeds`` has one number per
    picture; the draws of a kind depend on the seed and the kind alone, so that leaving a kind out leaves the draws of all
    others as they were. ``masks`` [B, 1, H, W] for all kinds or [B, 8, H, W] for each limit the damage to a region, with soft
    borders where they lie between 0 and 1. ``camera`` tells which pictures are seen behind a camera of their own (none if it is
    left out).
    """
    count, _, height, width = clean.shape
    asked = severities.tolist()
    if severities.shape != (count, len(KINDS)) or not all(0 <= s <= 1 for row in asked for s in row):
        raise ValueError(f"severities: shape {tuple(severities.shape)}; give [{count}, {len(KINDS)}] numbers from 0 to 1")
    cameras = [False] * count if camera is None else camera
    for name, given in (("seeds", seeds), ("camera", cameras)):
        if len(given) != count:
            raise ValueError(f"{name}: {len(given)} for {count} pictures; give one per picture")
    if masks is None:
        masks = torch.ones(count, 1, height, width, device=clean.device)
    elif masks.shape not in ((count, 1, height, width), (count, len(KINDS), height, width)):
        raise ValueError(f"masks: shape {tuple(masks.shape)}; give [{count}, 1 or {len(KINDS)}, {height}, {width}]")
    parts = [_degrade_one(clean[i], asked[i], seeds[i], masks[i], cameras[i]) for i in range(count)]
    return DegradedBatch(*(torch.stack(part) for part in zip(*parts, strict=True)))


@float32_default()
def degrade(
    picture: Tensor, kinds: Sequence[str], severity: float = 0.6, *, seed: int = 0, mask: Tensor | None = None
) -> Degraded:
    """Damage ``picture`` [3, H, W] in [0, 1] with every kind of ``kinds`` at ``severity`` in [0, 1], on the CPU.

    ``mask`` [1, H, W] in [0, 1] limits the damage to a region, with soft borders where it is between 0 and 1. The overall
    severity of a pixel is our definition: 1 − Π(1 − s) over the severities s of the kinds. The same seed gives the same
    picture.
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
