"""This module writes errors and notes of the command line to stderr, one line each."""

import os
import sys
from contextlib import suppress


class UsageError(ValueError):
    """This error is raised for an argument that is wrong in itself: no picture or model could make it right."""


def _line(text: str) -> None:
    """Print a text to stderr as one line; characters that its encoding lacks are escaped.

    Where stderr is full or closed nobody is there to hear it, and the work goes on.
    """
    encoding = sys.stderr.encoding or "utf-8"
    with suppress(OSError):
        print(" ".join(text.split()).encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr, flush=True)


def note(text: str) -> None:
    """Write a line that says what a file lost or what was left out."""
    _line(f"adaqual: note: {text}")


def message_of(problem: BaseException) -> str:
    """Return what went wrong, in words. An error that only a mistake in the program can cause asks to be reported."""
    message = str(problem)
    if not isinstance(problem, (ValueError, OSError, RuntimeError, MemoryError)):
        frame = problem.__traceback__
        while frame is not None and frame.tb_next:
            frame = frame.tb_next
        place = f"{os.path.basename(frame.tb_frame.f_code.co_filename)}:{frame.tb_lineno}" if frame else "?"
        message = f"internal error, please report it: {type(problem).__name__} at {place}: {message}"
    if not message.strip():
        memory = isinstance(problem, MemoryError)
        message = "not enough memory; use a smaller --tile, --patch-batch or picture" if memory else type(problem).__name__
    return message


def complain(problem: BaseException) -> None:
    """Say what went wrong, as :func:`message_of` words it."""
    _line(f"adaqual: error: {message_of(problem)}")
