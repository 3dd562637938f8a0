"""This module decides which pictures can serve as clean photos, and at what scale. It measures pixels and does not guess from
names."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from adaqual_core.filters import LUMA

Image.MAX_IMAGE_PIXELS = 120_000_000
SHORT, LONG, SMALLEST, CROP, CROP_FROM = 768, 1400, 300, 768, 3500


def luma(pixels: np.ndarray) -> np.ndarray:
    """Return the Rec. 601 luma of uint8 [H, W, 3] as float32."""
    return pixels.astype(np.float32) @ np.array(LUMA, np.float32)


def measures(pixels: np.ndarray) -> dict[str, float]:
    """Return the numbers that tell a clean photo from drawings, gradients and enlarged pictures."""
    grey = luma(pixels)
    across, down = np.diff(grey, axis=1)[:-1], np.diff(grey, axis=0)[:, :-1]
    height, width = (side // 16 * 16 for side in grey.shape)
    blocks = grey[:height, :width].reshape(height // 16, 16, width // 16, 16).std(axis=(1, 3))
    small = np.asarray(Image.fromarray(pixels).resize((128, 128), Image.Resampling.BOX)) >> 3
    codes = small.astype(np.int32) @ np.array([1024, 32, 1])
    window = np.outer(np.hanning(grey.shape[0]), np.hanning(grey.shape[1])).astype(np.float32)
    power = np.abs(np.fft.rfft2((grey - grey.mean()) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(grey.shape[0])[:, None], np.fft.rfftfreq(grey.shape[1])[None])
    octave = [power[(radius >= low) & (radius < 2 * low)].sum() for low in (0.25, 0.125)]
    strong = np.concatenate([across.ravel(), down.ravel()])
    return {
        "flat": float(np.mean((np.abs(across) < 0.6) & (np.abs(down) < 0.6))),
        "dull": float(np.mean(blocks < 1.5)),
        "colours": float(len(np.unique(codes))),
        "kurtosis": float(np.mean(strong**4) / max(np.mean(strong**2) ** 2, 1e-6)),
        "octave": float(octave[0] / max(octave[1], 1e-6)),
        "gradient": float(np.abs(strong).mean()),
        "chroma": float(np.mean(pixels.max(axis=2).astype(np.float32) - pixels.min(axis=2))),
    }


def fault(found: dict[str, float]) -> str | None:
    """Return the reason to leave a picture with these measures out, or None."""
    if found["chroma"] < 4:
        return "grey"
    if found["flat"] > 0.45:
        return "flat areas (drawing)"
    if found["dull"] > 0.62 or found["gradient"] < 1.2:
        return "near flat"
    if found["colours"] < 150:
        return "few colours"
    if found["kurtosis"] > 130:
        return "drawing edges"
    if found["octave"] < 0.04:
        return "soft or upscaled"
    return None


def blockiness(pixels: np.ndarray) -> float:
    """Return the luma steps across the 8×8 grid relative to those beside it; 1 where nothing was compressed."""
    grey = luma(pixels)
    ratios = []
    for step in (np.abs(np.diff(grey, axis=1)), np.abs(np.diff(grey, axis=0)).T):
        columns = step[:, : step.shape[1] // 8 * 8].mean(axis=0).reshape(-1, 8).mean(axis=0)
        ratios.append(columns[7] / max(np.median(columns[:7]), 1e-3))
    return float(np.mean(ratios))


def difference_hash(picture: Image.Image) -> int:
    """Return a 64-bit perceptual hash: the signs of the horizontal steps of a thumbnail of 9×8 px."""
    small = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX)).astype(np.int16)
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


def shrink(picture: Image.Image, factor: float) -> Image.Image:
    """Reduce a picture by ``factor`` ≤ 1 with Lanczos' filter."""
    size = [max(1, round(side * factor)) for side in picture.size]
    return picture if factor >= 1 else picture.resize(size, Image.Resampling.LANCZOS)


def crops_of(picture: Image.Image) -> list[Image.Image]:
    """Return up to three separate crops of 768 px of a very large photo at half its resolution, most detail first."""
    if max(picture.size) < CROP_FROM:
        return []
    half = shrink(picture, 0.5)
    tops, lefts = range(0, half.height - CROP + 1, CROP), range(0, half.width - CROP + 1, CROP)
    boxes = [(left, top, left + CROP, top + CROP) for top in tops for left in lefts]
    pieces = [half.crop(box) for box in boxes]
    good = [(found["gradient"], i) for i, p in enumerate(pieces) if not fault(found := measures(np.asarray(p)))]
    return [pieces[i] for _, i in sorted(good, reverse=True)[:3]]


def reduction(path: str, size: tuple[int, int]) -> float:
    """Return the scale at which a picture is kept. Lossy files lose a quarter, and their traces with it, where their size
    allows."""
    factor = min(1.0, SHORT / min(size), LONG / max(size))
    return factor if path.lower().endswith((".png", ".tif", ".tiff")) else min(factor, max(0.75, SMALLEST / min(size)))


def open_clean(path: Path) -> tuple[Image.Image | None, str]:
    """Decode one picture to RGB, or return (None, reason) for one that cannot be a clean colour photo."""
    try:
        with Image.open(path) as picture:
            if min(picture.size) < SMALLEST:
                return None, "small"
            if getattr(picture, "n_frames", 1) > 1:
                return None, "animated"
            if picture.mode in ("1", "L", "LA", "I", "I;16", "F"):
                return None, "grey"
            if picture.mode in ("RGBA", "PA") or "transparency" in picture.info:
                picture = picture.convert("RGBA")
                if picture.getchannel("A").getextrema()[0] < 255:
                    return None, "transparent"
            return ImageOps.exif_transpose(picture).convert("RGB"), ""
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None, "unreadable"
