"""This module restores without learning, by methods that a user has offline. The learned restorer must be better than they are.

Every method takes uint8 RGB [H, W, 3] and returns the same. Parameters are those of the papers or of common practice, one set for
all pictures.
"""

import cv2
import numpy as np
from skimage.restoration import estimate_sigma


def _guided(guide: np.ndarray, field: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """Filter ``field`` along the edges of ``guide``, both float32 [H, W] (guided filter, He et al. 2010)."""

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(x, -1, (2 * radius + 1, 2 * radius + 1))

    average_g, average_f = mean(guide), mean(field)
    slope = (mean(guide * field) - average_g * average_f) / (mean(guide * guide) - average_g**2 + epsilon)
    return mean(slope) * guide + mean(average_f - slope * average_g)


def _grey(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255


def _bytes(picture: np.ndarray) -> np.ndarray:
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)


def dark_channel(picture: np.ndarray) -> np.ndarray:
    """Remove haze by the dark channel prior (He et al. 2009): ω 0.95, patch 15, t₀ 0.1, transmission refined by the guided
    filter."""
    hazy = picture.astype(np.float32) / 255
    patch = np.ones((15, 15), np.uint8)
    dark = cv2.erode(hazy.min(2), patch)
    brightest = np.argsort(dark.ravel())[-max(1, dark.size // 1000) :]
    airlight = hazy.reshape(-1, 3)[brightest].mean(0)
    transmission = 1 - 0.95 * cv2.erode((hazy / airlight).min(2), patch)
    transmission = _guided(_grey(picture), transmission, 40, 1e-3).clip(0.1, 1)[..., None]
    return _bytes((hazy - airlight) / transmission + airlight)


def gamma(picture: np.ndarray) -> np.ndarray:
    """Brighten by the power that brings the mean of luma to 0.45; a bright picture is not darkened."""
    mean = float(_grey(picture).mean())
    power = min(1.0, np.log(0.45) / np.log(min(max(mean, 1e-3), 0.999)))
    return _bytes((picture / 255) ** power)


def clahe(picture: np.ndarray) -> np.ndarray:
    """Equalise the histogram of L in CIELAB, adaptively and with limited contrast (CLAHE): limit 2, 8×8 tiles."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(2.0, (8, 8)).apply(lab[..., 0])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def lime(picture: np.ndarray) -> np.ndarray:
    """Brighten after LIME (Guo et al. 2017): divide by the largest channel, smoothed along edges, to the power 0.6."""
    dark = picture.astype(np.float32) / 255
    light = _guided(_grey(picture), dark.max(2), 15, 1e-3).clip(0.03, 1)
    return _bytes(dark / light[..., None] ** 0.6)


def non_local_means(picture: np.ndarray) -> np.ndarray:
    """Denoise by non-local means in CIELAB, with h from the estimated noise."""
    sigma = 255 * float(np.mean(estimate_sigma(picture / 255, channel_axis=-1)))
    h = max(1.0, 0.8 * sigma)
    return cv2.fastNlMeansDenoisingColored(picture, None, h, h, 5, 15)


def median(picture: np.ndarray) -> np.ndarray:
    """Take the median of 5×5 px."""
    return cv2.medianBlur(picture, 5)


def guided(picture: np.ndarray) -> np.ndarray:
    """Smooth each colour along its own edges with the guided filter: radius 4, ε 0.01."""
    planes = [plane.astype(np.float32) / 255 for plane in cv2.split(picture)]
    return _bytes(np.stack([_guided(plane, plane, 4, 0.01) for plane in planes], 2))


METHODS = {
    "dark channel prior": dark_channel,
    "gamma": gamma,
    "CLAHE": clahe,
    "LIME-style": lime,
    "non-local means": non_local_means,
    "median 5×5": median,
    "guided filter": guided,
}
