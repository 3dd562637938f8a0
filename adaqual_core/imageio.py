"""Reading and writing pictures: 8- and 16-bit, grey, palette, alpha, EXIF orientation.

Files are written whole or not at all.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from .errors import PictureError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")

_LONGEST = {"JPEG": 65500, "WEBP": 16383}


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The picture file, with every failure inside the block raised as :class:`PictureError`."""
    if path.is_dir():
        raise PictureError(f"{path}: is a folder; give the path of a picture")
    if not path.is_file():
        raise PictureError(f"{path}: no such file; give the path of a picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as file:
                yield file
    except UnidentifiedImageError:
        raise PictureError(f"{path}: not a picture that can be read; give PNG, JPEG, WebP, TIFF or BMP") from None
    except Image.DecompressionBombError as problem:
        raise PictureError(f"{path}: too large ({problem}); cut it into parts first") from None
    except PictureError:
        raise
    except MemoryError:
        raise PictureError(f"{path}: does not fit into memory; cut it into parts first") from None
    except Exception as problem:  # Pillow's decoders raise almost anything for damaged files
        raise PictureError(f"{path}: damaged or truncated ({problem}); get the file again") from None


def _deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or ("transparency" in image.info and not _deep(image))


def find_pictures(folder: Path, required: bool = True) -> list[Path]:
    """Picture files of a folder by name, not of its subfolders; :class:`PictureError` if none though ``required``."""
    if not folder.is_dir():
        raise PictureError(f"{folder}: no such folder; give the path of a folder of pictures")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS and path.is_file())
    found = [path for path in found if not path.name.startswith(".")]
    if required and not found:
        raise PictureError(f"{folder}: no pictures in this folder; put PNG, JPEG, WebP, TIFF or BMP files there")
    return found


def picture_shape(path: Path) -> tuple[int, int, int]:
    """Channels (3, or 4 with alpha), height and width of a picture, upright, from the file's header alone."""
    with _opened(Path(path)) as file:
        width, height = file.size
        orientation = Image.Image.getexif(file).get(0x0112, 1)  # a PNG's own method would decode the whole file
        if orientation in (5, 6, 7, 8):
            height, width = width, height
        return 4 if _has_alpha(file) else 3, height, width


def read_picture(path: Path) -> Tensor:
    """Pixels [1, 3, H, W], or [1, 4, H, W] where the file has alpha, float32 in [0, 1], upright, of the first frame.

    Grey becomes RGB; 16-bit grey keeps its precision (Pillow reads 16-bit colour as 8-bit). Raises
    :class:`PictureError`.
    """
    path = Path(path)
    with _opened(path) as file:
        file.load()
        image = ImageOps.exif_transpose(file)
        if _deep(image):
            grey = np.asarray(image).astype(np.float32)
            if not np.isfinite(grey).all():
                raise PictureError(f"{path}: holds NaN or infinity; export it again")
            peak = 65535.0 if image.mode.startswith("I") else max(1.0, float(grey.max()))
            return torch.from_numpy(np.clip(grey / peak, 0, 1)).expand(1, 3, -1, -1).contiguous()
        mode = "RGBA" if _has_alpha(image) else "RGB"
        array = np.array(image if image.mode == mode else image.convert(mode))
    pixels = torch.empty(1, array.shape[2], *array.shape[:2])
    for channel, values in enumerate(torch.from_numpy(array).unbind(2)):  # by channel: no interleaved float copy
        pixels[0, channel] = values
    return pixels.div_(255)


def colour_profile(path: Path) -> bytes | None:
    """The ICC profile that a picture file's RGB values are meant in; None where it has none, or one for the grey or CMYK that
    :func:`read_picture` makes RGB of. Raises :class:`PictureError`."""
    with _opened(Path(path)) as file:
        profile = file.info.get("icc_profile")
    return profile if profile and profile[16:20] == b"RGB " else None


def check_output(path: Path, channels: int, height: int, width: int) -> None:
    """Raise :class:`PictureError` unless name and place of ``path`` suit a picture of this shape."""
    path = Path(path)
    if path.suffix.lower() not in EXTENSIONS:
        raise PictureError(f"{path}: unknown kind of file '{path.suffix}'; end the name in .png, .jpg, .webp or .tif")
    known = Image.registered_extensions()[path.suffix.lower()]
    if channels == 4 and known in ("JPEG", "BMP"):
        raise PictureError(f"{path}: {known} cannot hold the picture's alpha; write .png instead")
    if max(height, width) > _LONGEST.get(known, max(height, width)):
        raise PictureError(f"{path}: {known} cannot hold a picture of {width}×{height} px; write .png instead")
    if path.is_dir():
        raise PictureError(f"{path}: is a folder; give the name of a file")
    place = path.parent
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise PictureError(f"{path}: cannot be written into {place}; choose another place")


def write_picture(picture: Tensor, path: Path, profile: bytes | None = None) -> None:
    """Write [1, 1, 3 or 4 channels, H, W] in [0, 1] as 8-bit in the format of the name, whole or not at all, with the ICC
    ``profile`` where given (BMP cannot hold one)."""
    path = Path(path)
    if picture.ndim != 4 or picture.shape[0] != 1 or picture.shape[1] not in (1, 3, 4):
        raise PictureError(f"picture: shape {tuple(picture.shape)}; write one picture of 1, 3 or 4 channels")
    channels, height, width = picture.shape[1:]
    check_output(path, channels, height, width)
    pixels = np.empty((height, width, channels), np.uint8)
    for rows in range(0, height, 256):  # in strips: no picture-sized float copy
        part = picture[0, :, rows : rows + 256].detach().cpu().clamp(0, 1).mul(255).round_()
        pixels[rows : rows + 256] = part.permute(1, 2, 0).to(torch.uint8).numpy()
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    known = Image.registered_extensions()[path.suffix.lower()]
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(partial, known, icc_profile=profile, **({"quality": 95} if known in ("JPEG", "WEBP") else {}))
        os.replace(partial, path)
    except (OSError, ValueError) as problem:
        raise PictureError(f"{path}: cannot be written ({problem}); choose another place or kind of file") from None
    finally:
        partial.unlink(missing_ok=True)
