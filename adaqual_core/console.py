"""This module prints to the terminal, or to wherever standard output leads."""

import os
import sys


def open_missing_streams() -> None:
    """Open the standard streams that the program was started without, such as by ``>&-`` in a shell: nothing is read from them,
    and what is written to them is lost.

    Otherwise the first file that is opened would take a missing stream's number, and what is meant for the stream would be
    written into that file.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # the system gives it the lowest free number, which is the stream's
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))


def say(text: str) -> None:
    """Print a line. Characters that the terminal's encoding lacks are escaped.

    Raises OSError, which names standard output, where that cannot be written.
    """
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except OSError as problem:
        raise OSError(f"standard output: cannot be written ({problem.strerror}); what is done so far is whole") from None
