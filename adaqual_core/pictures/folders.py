"""This module finds the picture files of folders."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import PictureError
from .formats import GIVE, RAW_SUFFIXES, SUFFIXES, WITH_SIGNATURE
from .opening import opened


def _begins_like_picture(path: Path) -> bool:
    """Return whether a file whose name does not end as a picture's is one by its first bytes."""
    if path.suffix.lower() in RAW_SUFFIXES:
        return False
    try:
        with opened(path, WITH_SIGNATURE):
            return True
    except PictureError:
        return False


@dataclass(frozen=True)
class Files:
    """This class holds the visible files of a folder, each list sorted: ``pictures``, and ``others``.

    Subfolders that were not looked into: those ``closed`` to this user, and those ``linked`` from another place.
    """

    pictures: list[Path]
    others: list[Path]
    closed: list[Path]
    linked: list[Path]


def find_files(folder: Path, recursive: bool = False, leave_out: Sequence[Path] = ()) -> Files:
    """Return the files of a folder, and those of its subfolders too where ``recursive``.

    Hidden files and folders are passed over, and so are the folders ``leave_out``. Links to files are followed, links to folders
    are not, because they may lead in a circle. What ends as pictures do counts as one whether or not it can be read, and so do
    links to nothing and pipes of such names: whoever reads them says what is wrong. Other pipes and devices are passed over.
    Raises :class:`PictureError` where the folder itself may not be read.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise PictureError(f"{folder}: no such folder; give the path of a folder of pictures")
    avoid = {os.path.realpath(path) for path in leave_out}
    found = Files([], [], [], [])

    def refuse(problem: OSError) -> None:
        if Path(problem.filename) == folder:
            raise PictureError(f"{folder}: {problem.strerror}; allow this user to read the folder") from None
        found.closed.append(Path(problem.filename))

    for place, names, files in os.walk(folder, onerror=refuse):
        here = Path(place)
        names[:] = [name for name in names if recursive and name[0] != "." and os.path.realpath(here / name) not in avoid]
        found.linked.extend(here / name for name in names if os.path.islink(here / name))
        for path in (here / name for name in files if name[0] != "."):
            if path.suffix.lower() in SUFFIXES or (os.path.isfile(path) and _begins_like_picture(path)):
                found.pictures.append(path)
            elif os.path.isfile(path) or not os.path.exists(path):
                found.others.append(path)
    return Files(sorted(found.pictures), sorted(found.others), sorted(found.closed), sorted(found.linked))


def find_pictures(folder: Path, required: bool = True) -> list[Path]:
    """Return the picture files that lie in the folder itself, sorted by name.

    Raises :class:`PictureError` where the folder may not be read, or holds no pictures though ``required``.
    """
    found = find_files(folder).pictures
    if required and not found:
        raise nothing_found(folder, recursive=False)
    return found


def nothing_found(folder: Path, recursive: bool) -> PictureError:
    """Return the error for a folder without pictures; the caller raises it."""
    deeper = "" if recursive else " itself; --recursive also looks into its subfolders"
    return PictureError(f"{folder}: no pictures in this folder{deeper}; put {GIVE} files there")


def subfolders(folder: Path, leave_out: Sequence[Path]) -> list[Path]:
    """Return the folders in ``folder``, sorted; hidden ones and those in ``leave_out`` do not count."""
    avoid = {os.path.realpath(path) for path in leave_out}
    found = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(path for path in found if os.path.realpath(path) not in avoid)
