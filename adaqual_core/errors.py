"""This module holds the errors that this package raises beside ValueError, and how their messages list names."""

from collections.abc import Iterable


def listed(names: Iterable[str], most: int = 4) -> str:
    """Return the first ``most`` names, joined by commas, and how many more there are."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


class NumericalError(RuntimeError):
    """This error is raised when a network gives NaN or infinity."""


class CheckpointError(ValueError):
    """This error is raised for a model file that cannot be used. The message names the file, the problem and a remedy."""


class PictureError(ValueError):
    """This error is raised for a picture file that cannot be read or written. The message names the file, the problem and a
    remedy.
    """
