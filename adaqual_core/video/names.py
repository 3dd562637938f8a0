"""Which files are clips, and the default window; nothing here imports torch."""

from pathlib import Path

NAMES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv", ".flv", ".ogv")
"""Ends of the names of files that are taken for clips."""

TEMPORAL = 8
"""Frames of the window where nothing else is asked for; a third of a second of film."""


def is_clip(path: Path) -> bool:
    """Whether the name of a file is that of a clip."""
    return path.suffix.lower() in NAMES
