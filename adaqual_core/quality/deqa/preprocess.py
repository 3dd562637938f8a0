"""This module prepares pictures as the published preprocessing does, and holds the constant prompt as token ids (method.md
section 4)."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .network import Prompt

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
PAD = (122, 116, 104)

PUBLISHED_PROMPT = Prompt(
    before=(1, 3148, 1001, 29901, 1128, 723, 366, 6554, 278, 11029, 310, 445, 1967, 29973, 13),
    after=(29871, 13, 22933, 9047, 13566, 29901, 450, 11029, 310, 278, 1967, 338),
    levels=(15129, 1781, 6534, 6460, 4319),
)
"""LLaMA token ids of the constant prompt.

They are those of ``USER: How would you rate the quality of this image?⏎``, the picture, ``⏎ASSISTANT: The quality of the image
is``, and of the levels excellent, good, fair, poor, bad.
"""


def quantised(picture: Tensor) -> Tensor:
    """Return the uint8 [3, H, W] on the CPU that the published pipeline would have read from a file, for [3, H, W] in [0, 1]."""
    return picture.detach().cpu().float().clamp(0, 1).mul(255).round_().to(torch.uint8)


def normalised(pixels: Tensor) -> Tensor:
    """Return uint8 pixels [3, S, S] as float32 [3, S, S]: divided by 255, minus CLIP's mean, divided by its standard
    deviation."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (pixels.float() / 255 - mean) / std


def whole_picture(pixels: Tensor, size: int) -> Tensor:
    """Return a uint8 picture [3, H, W] padded to a square around its centre, resized bicubically, normalised: [3, size, size]."""
    height, width = pixels.shape[1:]
    image = Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))
    side = max(height, width)
    if height != width:
        square = Image.new("RGB", (side, side), PAD)
        square.paste(image, ((side - width) // 2, (side - height) // 2))
        image = square
    if side != size:
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return normalised(torch.from_numpy(np.array(image)).permute(2, 0, 1))
