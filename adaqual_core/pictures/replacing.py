"""This module writes files whole or not at all, so that a killed process leaves neither half a file nor a lost original."""

import os
import secrets
import stat
import tempfile
from pathlib import Path

from ..errors import PictureError


def check_place(path: Path) -> None:
    """Raise :class:`PictureError` unless a file can be written to ``path``.

    Its folder must exist or be one that can be made, and what lies there already must be a file that may be replaced. Where
    ``path`` is a link, this holds for the place that it points to.
    """
    if len(os.fsencode(path.name)) > 255:
        raise PictureError(f"{path}: the name is longer than the 255 bytes that file systems take; choose a shorter one")
    if os.path.isdir(path):
        raise PictureError(f"{path}: is a folder; give the name of a file")
    if os.path.exists(path) and not (os.access(path, os.W_OK) and stat.S_IMODE(path.stat().st_mode) & 0o222):
        raise PictureError(f"{path}: is write-protected; allow writing, or choose another name")
    if os.path.exists(path) and not os.path.isfile(path):
        raise PictureError(f"{path}: is a pipe or a device; give the name of a file")
    real = Path(os.path.realpath(path)) if os.path.islink(path) else path
    if os.path.islink(real):
        raise PictureError(f"{path}: is a link that leads back to itself; remove it, or choose another name")
    place = real.parent
    while not os.path.exists(place) and place != place.parent:
        place = place.parent
    if not os.path.isdir(place) or not os.access(place, os.W_OK | os.X_OK):
        raise PictureError(f"{path}: cannot be written into {place}; choose another place")


def _filled(handle: int, data: bytes) -> None:
    with os.fdopen(handle, "wb", closefd=False) as file:
        file.write(data)
        file.flush()
        os.fsync(handle)


def _without_name(data: bytes, folder: Path) -> Path | None:
    """Open a new file in ``folder`` that gets its name when it is whole; None where the system cannot do that (all but Linux)."""
    if not hasattr(os, "O_TMPFILE"):
        return None
    try:
        handle = os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o666)
    except OSError:
        return None
    try:
        _filled(handle, data)
        path = folder / f".adaqual-{secrets.token_hex(8)}.partial"
        try:
            os.link(f"/proc/self/fd/{handle}", path, src_dir_fd=handle)  # so Python follows the link to the open file
        except OSError:
            return None
        return path
    finally:
        os.close(handle)


def _with_name(data: bytes, folder: Path) -> Path:
    """Open a new file in ``folder``, which is removed again unless it can be written whole."""
    handle, name = tempfile.mkstemp(prefix=".adaqual-", suffix=".partial", dir=folder)
    try:
        _filled(handle, data)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
    except BaseException:
        os.unlink(name)
        raise
    finally:
        os.close(handle)
    return Path(name)


def replace_file(path: Path, data: bytes) -> None:
    """Put a file with this content in the place of ``path``, with the permissions of what lay there; folders are made.

    A link stays one: what it points to is replaced. Raises OSError.
    """
    path = Path(os.path.realpath(path)) if os.path.islink(path) else path
    path.parent.mkdir(parents=True, exist_ok=True)
    new = _without_name(data, path.parent) or _with_name(data, path.parent)
    try:
        if path.exists():
            os.chmod(new, stat.S_IMODE(path.stat().st_mode))
        os.replace(new, path)
    except BaseException:
        new.unlink()
        raise
