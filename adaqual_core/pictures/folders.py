"""The picture files of folders."""

import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import PictureError
from .formats import GIVE, RAW_SUFFIXES, SUFFIXES, WITH_SIGNATURE
from .opening import opened


def _looks_like_picture(path: Path) -> bool:
    """Whether a file is a picture by the ending of its name or, where that says nothing, by its first bytes."""
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return True
    if suffix in RAW_SUFFIXES:
        return False
    try:
        with opened(path, WITH_SIGNATURE):
            return True
    except PictureError:
        return False


def find_pictures(
    folder: Path,
    required: bool = True,
    recursive: bool = False,
    leave_out: Sequence[Path] = (),
    closed: list[Path] | None = None,
) -> list[Path]:
    """Picture files of a folder, sorted by name; those of its subfolders too where ``recursive``.

    Hidden files and folders are passed over, and so are the folders ``leave_out``. Files that end as pictures do count whether or
    not they can be read. Subfolders that may not be read are put into the list ``closed``. Raises :class:`PictureError` where the
    folder itself may not be read, or holds no pictures though ``required``.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise PictureError(f"{folder}: no such folder; give the path of a folder of pictures")
    avoid = {path.resolve() for path in leave_out}

    def refuse(problem: OSError) -> None:
        if closed is None or Path(problem.filename) == folder:
            raise PictureError(f"{problem.filename}: {problem.strerror}; allow this user to read the folder") from None
        closed.append(Path(problem.filename))

    found: list[Path] = []
    for place, names, files in os.walk(folder, onerror=refuse):
        here = Path(place)
        names[:] = [name for name in names if recursive and name[0] != "." and (here / name).resolve() not in avoid]
        paths = (here / name for name in files if name[0] != ".")
        found += [path for path in paths if os.path.isfile(path) and _looks_like_picture(path)]
    if required and not found and not closed:
        deeper = "" if recursive else " itself; --recursive also looks into its subfolders"
        raise PictureError(f"{folder}: no pictures in this folder{deeper}; put {GIVE} files there")
    return sorted(found)


def subfolders(folder: Path, leave_out: Sequence[Path]) -> list[str]:
    """Names of the folders in ``folder``, hidden ones and those in ``leave_out`` not counted."""
    avoid = {path.resolve() for path in leave_out}
    found = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(path.name for path in found if path.resolve() not in avoid)
