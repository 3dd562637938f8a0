"""This module makes the public evaluation set: scikit-image's colour photos, damaged by albumentations and imagecorruptions.

``python -m benchmarks.public_set --out runs/public`` writes clean/NAME.png and degraded/CLASS/NAME.png for ``adaqual evaluate``.
None of this code is used in training, and none of these photos are trained on.
"""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import albumentations as A
import numpy as np
import skimage.data
from PIL import Image

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")


def fog(alpha: float):
    return A.RandomFog(alpha_coef=alpha, fog_coef_range=(0.5, 0.9), p=1)


def rain(kind: str, brightness: float):
    return A.RandomRain(rain_type=kind, blur_value=3, brightness_coefficient=brightness, p=1)


def snow(method: str):
    return A.RandomSnow(method=method, snow_point_range=(0.15, 0.3), brightness_coeff=2.0, p=1)


def gamma(low: int, high: int):
    return A.RandomGamma(gamma_limit=(low, high), p=1)


def noise(low: float, high: float):
    return A.GaussNoise(std_range=(low, high), p=1)


def compress(low: int, high: int):
    return A.ImageCompression(quality_range=(low, high), p=1)


ISO = A.ISONoise(color_shift=(0.01, 0.03), intensity=(0.1, 0.3), p=1)

CLASSES = {
    "haze": [[fog(0.1)], ["fog", 2], ["fog", 4]],
    "low": [[gamma(180, 260)], [gamma(220, 320), ISO], ["brightness_low"]],
    "rain": [[rain("drizzle", 0.9)], [rain("heavy", 0.85)], [rain("default", 0.8)]],
    "snow": [[snow("bleach")], ["snow", 1], ["snow", 3]],
    "noise-jpeg": [[noise(0.04, 0.1)], [compress(12, 35)], [noise(0.02, 0.06), compress(30, 60)], ["shot_noise", 2]],
    "blur": [["defocus_blur", 1], ["motion_blur", 2]],
    "composition": [[gamma(180, 240), rain("heavy", 0.9)], [snow("bleach"), fog(0.1)], [gamma(160, 220), fog(0.08)]],
}
"""Recipes per class: albumentations transforms in order, or a corruption's name and severity (1 to 5)."""


def corrupted(pixels: np.ndarray, kind: str, level: int) -> np.ndarray:
    """Corrupt uint8 [H, W, 3] by the package imagecorruptions, which is imported when it is first needed."""
    np.float_ = np.float64  # the package was written for NumPy 1
    from imagecorruptions import corrupt

    return corrupt(pixels, corruption_name=kind, severity=level).astype(np.uint8)


def damage(pixels: np.ndarray, recipe: list, seed: int) -> np.ndarray:
    """Return a damaged copy of uint8 [H, W, 3]."""
    np.random.seed(seed)
    random.seed(seed)
    if recipe == ["brightness_low"]:
        return (255 * (pixels / 255.0) ** 2.2 * 0.5 + 0.5).astype(np.uint8)
    if isinstance(recipe[0], str):
        return corrupted(pixels, *recipe)
    return A.Compose(recipe, seed=seed)(image=pixels)["image"]


def main(argv: Sequence[str] | None = None) -> None:
    """Write the clean and the damaged pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/public"))
    parser.add_argument(
        "--only", nargs="+", choices=[*CLASSES, "clean"], default=[*CLASSES, "clean"], help="write these classes only"
    )
    args = parser.parse_args(argv)
    out = args.out
    source = Path(skimage.data.__file__).parent
    (out / "clean").mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(PHOTOS):
        pixels = np.asarray(Image.open(source / name).convert("RGB"))
        stem = Path(name).stem
        classes = {label: recipes for label, recipes in {**CLASSES, "clean": [None]}.items() if label in args.only}
        for label, recipes in classes.items():
            (out / "degraded" / label).mkdir(parents=True, exist_ok=True)
            for i, recipe in enumerate(recipes):
                Image.fromarray(pixels).save(out / "clean" / f"{stem}-{i}.png")
                damaged = pixels if recipe is None else damage(pixels, recipe, 100 * number + i)
                Image.fromarray(damaged).save(out / "degraded" / label / f"{stem}-{i}.png")


if __name__ == "__main__":
    main()
