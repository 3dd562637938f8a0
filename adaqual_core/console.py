"""This module prints to the terminal."""

import sys


def say(text: str) -> None:
    """Print a line. Characters that the terminal's encoding lacks are escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
