"""This module tells clips by their names, and holds the formats that are written and the default window. It does not import
torch.
"""

from pathlib import Path

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv", ".flv", ".ogv")
"""Ends of the names of files that are taken for clips."""

WRITTEN = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Ends of the names of clips that can be written, with FFmpeg's name of the format."""

TEMPORAL = 8
"""Frames of the window where nothing else is asked for; a third of a second of film."""


def is_clip(path: Path) -> bool:
    """Return whether a file is a clip by the ending of its name."""
    return path.suffix.lower() in SUFFIXES


_TRANSPORT = (".ts", ".mts", ".m2ts")
_SYNC, _PACKET = 0x47, 188


def looks_like_clip(path: Path) -> bool:
    """Return whether a file is a clip by its name and, for an MPEG transport stream, by its first bytes too.

    Source code has names like .ts as well. Each packet of a stream begins with a synchronisation byte (ISO/IEC 13818-1); in M2TS
    four bytes of time come before it.
    """
    if path.suffix.lower() not in _TRANSPORT:
        return is_clip(path)
    try:
        with path.open("rb") as file:
            start = file.read(2 * _PACKET + 8)
    except OSError:
        return True  # whoever reads it says why it cannot be read
    packets = ((0, _PACKET), (4, _PACKET + 8))
    return any(len(start) > second and start[first] == start[second] == _SYNC for first, second in packets)


def written_suffix(path: Path) -> str:
    """Return the suffix of the restored clip: that of the source if its format can be written, otherwise ``.mkv``."""
    return path.suffix if path.suffix.lower() in WRITTEN else ".mkv"
