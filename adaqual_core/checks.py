"""What every stage demands of a picture, and the error for networks that fail."""

import torch
from torch import Tensor


def check_picture(picture: Tensor) -> None:
    """Raise ValueError unless ``picture`` is a finite float [B ≥ 1, 3 or 4, H ≥ 1, W ≥ 1]."""
    if picture.ndim != 4 or picture.shape[1] not in (3, 4) or 0 in picture.shape:
        raise ValueError(f"picture: shape {tuple(picture.shape)}; give [B, 3, H, W], or 4 channels with alpha")
    if not picture.is_floating_point():
        raise ValueError(f"picture: {picture.dtype}; give floats in [0, 1]")
    if not bool(torch.isfinite(picture).all()):
        raise ValueError("picture: holds NaN or infinity; repair the node or file that made it")
