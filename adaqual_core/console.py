"""Printing to whatever terminal there is."""

import sys


def say(text: str) -> None:
    """Print a line; characters that the terminal cannot show are escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
