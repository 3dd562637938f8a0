"""This module opens picture files with Pillow. Every failure is a :class:`PictureError` that names the file and a remedy."""

import errno
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import Image, ImageFile, PngImagePlugin, UnidentifiedImageError

from ..errors import PictureError
from .formats import GIVE, RAW_SUFFIXES, READ

PngImagePlugin.MAX_TEXT_CHUNK = 2**26  # large ComfyUI graphs in PNG text are longer than the 1 MB that Pillow allows

_SIGNATURES = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"BM": "BMP", b"RIFF": "WebP"}
"""The first bytes of files, with the format that they are meant to have."""


def allow_megapixels(limit: float) -> None:
    """Let this process open pictures of up to ``limit`` megapixels, instead of Pillow's 179.

    Larger ones are refused, because a small file can unpack to more than memory holds.
    """
    Image.MAX_IMAGE_PIXELS = max(1, int(limit * 1e6 / 2))  # Pillow refuses from twice this number


@contextmanager
def opened(path: Path, formats: tuple[str, ...] = READ) -> Iterator[ImageFile.ImageFile]:
    """Open the picture file at ``path``, in one of the ``formats`` by Pillow's names.

    Every failure inside the block is raised as :class:`PictureError`, so the block must only read the file.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise PictureError(f"{path}: is a folder; give the path of a picture")
        if not stat.S_ISREG(mode):
            raise PictureError(f"{path}: is a pipe or a device; give the path of a picture")
        if path.suffix.lower() in RAW_SUFFIXES:
            raise PictureError(f"{path}: a camera's raw file; develop it first and give the picture as TIFF or PNG")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")
            Image.init()
            with Image.open(path, formats=[name for name in formats if name in Image.OPEN]) as file:
                yield file
    except PictureError:
        raise
    except PermissionError:
        raise PictureError(f"{path}: permission denied; allow this user to read the file") from None
    except (FileNotFoundError, NotADirectoryError):
        raise PictureError(f"{path}: no such file; give the path of a picture") from None
    except UnidentifiedImageError:
        raise PictureError(f"{path}: {_why_unknown(path)}") from None
    except Image.DecompressionBombError:
        limit = f"{2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:g} megapixels"
        raise PictureError(f"{path}: larger than {limit}; raise --max-megapixels, or cut it into parts") from None
    except MemoryError:
        raise PictureError(f"{path}: does not fit into memory; cut it into parts first") from None
    except Exception as problem:  # the decoders raise almost anything for damaged files
        if isinstance(problem, OSError) and problem.errno == errno.ENAMETOOLONG:
            raise PictureError(f"{path}: no such file, and no file can have so long a name") from None
        if isinstance(problem, OSError) and problem.errno == errno.ELOOP:
            raise PictureError(f"{path}: no such file, but a link that leads back to itself; remove it") from None
        said = " ".join(str(problem).split())
        meant_for_users = isinstance(problem, (OSError, ValueError, SyntaxError, EOFError))  # others tell where Pillow stumbled
        reason = f" ({said})" if said and meant_for_users else ""
        raise PictureError(f"{path}: damaged or truncated{reason}; get the file again") from None


def bytes_of(file: ImageFile.ImageFile) -> IO[bytes]:
    """Return the bytes that an opened picture is read from; ValueError after Pillow has decoded it and closed them."""
    if file.fp is None:
        raise ValueError("the file is closed; read its bytes before its pixels")
    return file.fp


def _why_unknown(path: Path) -> str:
    """Return what to say of a file that no decoder takes."""
    with path.open("rb") as file:
        start = file.read(32)
    if not start:
        return f"not a picture, but an empty file; give {GIVE}"
    if damaged := next((name for sign, name in _SIGNATURES.items() if start.startswith(sign)), None):
        return f"a {damaged} that is damaged near its beginning; get the file again"
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "a TIFF whose samples are of an unknown layout, or damaged; save it as grey or RGB with 8 or 16 bit"
    if start[4:12] in (b"ftypavif", b"ftypavis"):
        return "an AVIF that cannot be read; update Pillow to 11.3 or newer, or give another format"
    if start[4:8] == b"ftyp":
        return f"a HEIC picture or a film, which cannot be read as a picture; give {GIVE}"
    return f"not a picture that can be read; give {GIVE}"
