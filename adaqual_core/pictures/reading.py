"""This module decodes picture files: every frame upright, in the file's own bits and channels."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from ..errors import PictureError
from .deep import decode_16_bit
from .header import Header, channels_of, header_of, read_header
from .metadata import Metadata, read_metadata
from .opening import opened

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Frame:
    """This class is one frame, page or still of a file.

    ``pixels`` [H, W, 1 to 4 channels (grey, grey with alpha, RGB, RGBA)], upright: uint8, uint16, or float32 in [0, 1].
    ``duration`` in ms, 0 for stills.
    """

    pixels: np.ndarray
    duration: float
    metadata: Metadata


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return pixels [H, W, C], which are stored with this EXIF orientation 1 to 8, as they are seen."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(pixels[::rows, ::columns])


def _in_srgb(image: Image.Image) -> Image.Image:
    """Return CMYK or Lab as sRGB: by the file's profile where it has a sound one, otherwise by Pillow's formula."""
    lab = image.mode == "LAB"
    profile = image.info.get("icc_profile") or b""
    if lab or profile:
        try:
            source = ImageCms.createProfile("LAB") if lab else io.BytesIO(profile)
            found = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            if lab:
                raise
            found = None
        if found is not None:
            return found
    return image.convert("RGB")


def _reduced(pixels: np.ndarray) -> np.ndarray:
    """Return RGBA pixels of a palette without the alpha that is 255 everywhere, and as one channel where all colours are grey."""
    if (pixels[..., 3] == 255).all():
        pixels = pixels[..., :3]
    if (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all():
        pixels = pixels[..., [0, 3][: pixels.shape[2] - 2]]
    return pixels


def _pixels(image: Image.Image, header: Header) -> np.ndarray:
    """Return the pixels [H, W, C] of a loaded frame."""
    if header.bits == 32:
        pixels = np.array(image, np.float32)[..., None]
        low, high = float(pixels.min()), float(pixels.max())
        if not np.isfinite(low + high):
            raise PictureError(f"{header.path}: holds NaN or infinity; export it again")
        if low < 0 or high > 1:
            raise PictureError(
                f"{header.path}: floats from {low:g} to {high:g}; scale them to 0 to 1, or save the picture with 16 bits"
            )
        return pixels
    if header.bits == 16:
        return np.array(image).clip(0, 65535).astype(np.uint16)[..., None]
    if image.mode in ("P", "PA") or header.format == "GIF":
        return _reduced(np.array(image.convert("RGBA")))
    if image.mode in ("CMYK", "LAB"):
        image = _in_srgb(image)
    mode = _MODES[channels_of(image)]
    pixels = np.array(image if image.mode == mode else image.convert(mode))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _decoded(file: ImageFile.ImageFile, header: Header, number: int) -> np.ndarray:
    """Return the upright pixels of the frame at which ``file`` stands."""
    deep = header.bits == 16 and header.format in ("PNG", "TIFF") and channels_of(file) > 1
    file.load()  # for 16-bit colour too: PyAV makes up what is missing in a damaged file, Pillow refuses it
    if deep:
        pixels = decode_16_bit(header.path, header.format.lower(), number)
        if isinstance(file, TiffImageFile) and 1 in file.tag_v2.get(338, ()):  # colours were multiplied by alpha
            alpha = pixels[..., -1:].astype(np.float32)
            pixels[..., :-1] = (pixels[..., :-1] * (65535 / np.maximum(alpha, 1))).round().clip(0, 65535)
        return turned(pixels, header.orientation)
    pixels = _pixels(file, header)
    if header.bits > 8 and isinstance(file, TiffImageFile) and file.tag_v2.get(262) == 0:  # Pillow forgets that white is 0
        pixels = np.array(65535 if header.bits == 16 else 1, pixels.dtype) - pixels
    return pixels if file.format == "TIFF" else turned(pixels, header.orientation)


def _frame(file: ImageFile.ImageFile, header: Header, number: int, metadata: Metadata | None) -> Frame:
    """Return the frame at which ``file`` stands, with its own metadata where none is given."""
    if metadata is None:
        if header.format == "PNG":
            file.load()
        metadata = read_metadata(file, header)
    pixels = _decoded(file, header, number)
    return Frame(pixels, float(file.info.get("duration") or 0) if header.moving else 0.0, metadata)


def _check_unchanged(file: ImageFile.ImageFile, header: Header) -> None:
    """Raise :class:`PictureError` unless ``file``, which was just opened, is still what ``header`` says."""
    if header_of(file, header.path) != header:
        raise PictureError(f"{header.path}: was replaced by another picture after the work had begun; start it again")


def _only_frame(header: Header) -> Frame:
    with opened(header.path) as file:
        _check_unchanged(file, header)
        return _frame(file, header, 0, None)


def read_frames(header: Header) -> Iterator[Frame]:
    """Yield every frame or page of the file, one after the other.

    Raises :class:`PictureError`, also where the file is no longer the one that ``header`` was read from, by what a header holds.
    """
    if header.frames == 1:
        yield _only_frame(header)  # the file is closed again, so that its pixels are held once
        return
    metadata = None
    with opened(header.path) as file:
        _check_unchanged(file, header)
        for number in range(header.frames):
            file.seek(number)
            if header.format == "TIFF":  # every page is a picture of its own
                yield _frame(file, header_of(file, header.path), number, None)
            else:
                frame = _frame(file, header, number, metadata)
                metadata = frame.metadata
                yield frame


def read_still(path: Path) -> Frame:
    """Return the picture of a file that holds one; raises :class:`PictureError` for files of several frames or pages too."""
    header = read_header(path)
    if header.frames > 1:
        what = "an animation of" if header.moving else "a file of"
        raise PictureError(
            f"{path}: {what} {header.frames} frames, where one picture is needed; adaqual restore takes them all, for the rest "
            "save the frames as single pictures"
        )
    return next(read_frames(header))
