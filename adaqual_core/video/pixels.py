"""This module converts frames to tensors and back by FFmpeg's own colour conversion.

A frame's matrix, range and depth decide what its numbers mean as RGB; the same ones turn the restored picture back. Samples of
places that were not changed are copied, not converted.
"""

import av
import numpy as np
import torch
import torch.nn.functional as F
from av import VideoFrame
from av.video.format import VideoFormat
from av.video.plane import VideoPlane
from av.video.reformatter import Interpolation
from torch import Tensor

if not hasattr(Interpolation, "ACCURATE_RND"):
    raise ImportError(f"PyAV 18 or newer converts colours exactly, but this is {av.__version__}")

_EXACT = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.BITEXACT
)
_FULL = 2
_PEAK = 65535.0


def has_alpha(format: VideoFormat) -> bool:
    """Return whether frames of this format hold opacity."""
    return any(component.is_alpha for component in format.components)


def as_format(frame: VideoFrame, name: str) -> VideoFrame:
    """Return the frame in another pixel format of the same matrix and range, or the frame itself if it has that format."""
    if frame.format.name == name:
        return frame
    return frame.reformat(format=name, interpolation=_EXACT, dst_color_range=frame.color_range, threads=1)


def picture_of(frame: VideoFrame) -> Tensor:
    """Return the picture [1, 3, H, W] in [0, 1] that a frame shows, or [1, 4, H, W] if the frame holds alpha."""
    name = "rgba64le" if has_alpha(frame.format) else "rgb48le"
    pixels = frame.reformat(format=name, interpolation=_EXACT, dst_color_range=_FULL, threads=1).to_ndarray()
    return torch.from_numpy(pixels.astype(np.float32)).movedim(-1, 0)[None].div_(_PEAK)


def frame_of(picture: Tensor, like: VideoFrame, before: Tensor) -> VideoFrame:
    """Return a frame of the format, matrix and range of ``like`` that shows ``picture`` [1, 3 or 4, H, W] in [0, 1].

    ``before`` is :func:`picture_of` of ``like``. Samples are those of ``like`` wherever no pixel that they cover differs.
    """
    changed = (picture != before)[0].any(0)
    values = picture[0].clamp(0, 1).mul(_PEAK).round_().movedim(0, -1).numpy().astype(np.uint16)
    shown = VideoFrame.from_ndarray(values, format="rgba64le" if values.shape[-1] == 4 else "rgb48le")
    shown.colorspace, shown.color_range = like.colorspace, _FULL
    frame = shown.reformat(format=like.format.name, interpolation=_EXACT, dst_color_range=like.color_range, threads=1)
    frame.colorspace, frame.color_range = like.colorspace, like.color_range
    frame.color_primaries, frame.color_trc = like.color_primaries, like.color_trc
    _keep(frame, like, changed)
    return frame


def _keep(frame: VideoFrame, like: VideoFrame, changed: Tensor) -> None:
    """Copy the samples of ``like`` into ``frame`` where no pixel that they cover is ``changed`` [H, W]."""
    for number, (new, old) in enumerate(zip(frame.planes, like.planes, strict=True)):
        rows, columns = -(-like.height // new.height), -(-like.width // new.width)
        padded = F.pad(changed[None, None].float(), (0, new.width * columns - like.width, 0, new.height * rows - like.height))
        kept = (F.max_pool2d(padded, (rows, columns))[0, 0] == 0).numpy()
        size = _sample_bytes(like.format, number)
        _samples(new, size)[kept] = _samples(old, size)[kept]


def _sample_bytes(format: VideoFormat, plane: int) -> int:
    """Return the number of bytes from one sample of a plane to the next, with all components that share the plane."""
    if not format.is_planar:
        return format.padded_bits_per_pixel // 8
    return sum((component.bits + 7) // 8 for component in format.components if component.plane == plane)


def _samples(plane: VideoPlane, size: int) -> np.ndarray:
    """Return the samples of a plane as an array [height, width, size] of bytes. Writing into the array writes into the frame."""
    whole = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return whole[: plane.height, : plane.width * size].reshape(plane.height, plane.width, size)
