"""This module reads and writes picture files as tensors: what is restored, judged or compared is [1, C, H, W] float32 in [0, 1],
upright.

:mod:`pictures` reads and writes the files themselves. A tensor and back is exact: 8- and 16-bit values return as they were.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .errors import PictureError
from .pictures.header import read_header
from .pictures.metadata import Metadata
from .pictures.reading import read_still
from .pictures.writing import write_still

_ROWS = 256  # pictures are converted in strips, so that no float copy of the whole is made


def to_tensor(pixels: np.ndarray) -> Tensor:
    """Return pixels [H, W, 1 to 4 channels], uint8, uint16 or float32 in [0, 1], as a picture [1, 3, H, W] in [0, 1], or [1, 4,
    H, W] with alpha.

    Grey becomes three equal channels.
    """
    height, width, channels = pixels.shape
    scale = 1.0 if pixels.dtype == np.float32 else float(np.iinfo(pixels.dtype).max)
    sources = [0, 0, 0] if channels < 3 else [0, 1, 2]
    sources += [channels - 1] if channels in (2, 4) else []
    picture = torch.empty(1, len(sources), height, width)
    for channel, source in enumerate(sources):
        picture[0, channel] = torch.from_numpy(pixels[..., source].astype(np.float32))
    return picture.div_(scale)


def to_pixels(picture: Tensor, like: np.ndarray) -> np.ndarray:
    """Return a picture [1, 3 or 4, H, W] in [0, 1] as pixels of the channels and kind of numbers of ``like``, which it was made
    from.

    Only channels and kind of ``like`` count, not its size. Grey is the mean of the three channels, exactly their value where they
    are equal.
    """
    channels, kind = like.shape[2], like.dtype
    height, width = picture.shape[-2:]
    pixels = np.empty((height, width, channels), kind)
    for top in range(0, height, _ROWS):
        part = picture[0, :, top : top + _ROWS].detach().cpu().float().clamp(0, 1)
        if channels < 3:
            grey = part[1] + ((part[0] - part[1]) + (part[2] - part[1])) / 3
            part = torch.cat((grey.clamp(0, 1)[None], part[3:]))
        if kind != np.float32:
            part = part.mul(float(np.iinfo(kind).max)).round_()
        pixels[top : top + _ROWS] = part.permute(1, 2, 0).numpy().astype(kind)
    return pixels


def picture_shape(path: Path) -> tuple[int, int, int]:
    """Return the channels (3, or 4 with alpha), height and width of a picture, upright, from the file's header alone."""
    header = read_header(Path(path))
    return 4 if header.channels in (2, 4) else 3, header.height, header.width


def read_picture(path: Path) -> Tensor:
    """Return the picture [1, 3, H, W], or [1, 4, H, W] where the file has alpha, float32 in [0, 1], upright; grey becomes RGB.

    Raises :class:`PictureError`, for files of several frames or pages too.
    """
    return to_tensor(read_still(Path(path)).pixels)


def write_picture(picture: Tensor, path: Path, profile: bytes | None = None) -> None:
    """Write a picture [1, 1, 3 or 4 channels, H, W] in [0, 1] with 8 bits in the format of the name, whole or not at all.

    ``profile``: the ICC profile of the colours. Raises :class:`PictureError`.
    """
    if picture.ndim != 4 or picture.shape[0] != 1 or picture.shape[1] not in (1, 3, 4):
        raise PictureError(f"picture: shape {tuple(picture.shape)}; write one picture of 1, 3 or 4 channels")
    rgb = picture.expand(-1, 3, -1, -1) if picture.shape[1] == 1 else picture
    pixels = to_pixels(rgb, np.empty((1, 1, picture.shape[1]), np.uint8))
    write_still(pixels, Path(path), Metadata(profile=profile))
