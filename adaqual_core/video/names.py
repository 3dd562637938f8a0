"""Which files are clips, which of them can be written, and the default window; nothing here imports torch."""

from pathlib import Path

NAMES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv", ".flv", ".ogv")
"""Ends of the names of files that are taken for clips."""

WRITTEN = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Ends of the names of clips that can be written, with FFmpeg's name of the format."""

TEMPORAL = 8
"""Frames of the window where nothing else is asked for; a third of a second of film."""


def is_clip(path: Path) -> bool:
    """Whether the name of a file is that of a clip."""
    return path.suffix.lower() in NAMES


_TRANSPORT = (".ts", ".mts", ".m2ts")
_SYNC, _PACKET = 0x47, 188


def looks_like_clip(path: Path) -> bool:
    """Whether a file is a clip by its name. An MPEG transport stream must begin as one, because source code has such names too.

    Each packet begins with a synchronisation byte (ISO/IEC 13818-1), in M2TS behind four bytes of time.
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
    """The end of the name under which a restored clip is written: the source's own where it can be written, else ``.mkv``."""
    return path.suffix if path.suffix.lower() in WRITTEN else ".mkv"
