"""This module gives memory that was freed back to the system."""

import ctypes
import sys


def return_freed_memory() -> None:
    """Let the C library give the memory that it holds for later requests back to the system.

    glibc keeps freed pieces between pieces in use. Pictures of ever other sizes need ever other pieces, so a server that works
    through a queue would hold more and more (docs/measurements.md). Other systems and other C libraries are left alone.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
