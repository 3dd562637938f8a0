"""Marks for tests of what the oldest allowed versions lack: `make test-floor` skips them, and no newer environment does."""

import sys

import av
import PIL
import pytest
import torch
import tqdm
from PIL import Image

Image.init()
HAS_AVIF = "AVIF" in Image.SAVE
"""Whether the installed Pillow writes AVIF (11.3 and newer)."""
HAS_QOI = "QOI" in Image.SAVE
"""Whether the installed Pillow writes QOI (12.0 and newer); older ones only read it."""


def _older(version: str, than: tuple[int, int]) -> bool:
    return tuple(int(part) for part in version.split(".")[:2]) < than


HAS_CLIPS = not _older(av.__version__, (18, 0))
"""Whether the installed PyAV converts colours exactly, which clips need."""

needs_clips = pytest.mark.skipif(not HAS_CLIPS, reason="clips need PyAV 18")
needs_training = pytest.mark.skipif(sys.version_info < (3, 11), reason="recipes are read with Python 3.11")
needs_pillow_10 = pytest.mark.skipif(_older(PIL.__version__, (10, 0)), reason="Pillow 9.5 cannot read YCbCr TIFFs of its own")
needs_sized_font = pytest.mark.skipif(_older(PIL.__version__, (10, 1)), reason="the font has a size since Pillow 10.1")
needs_lazy_torch = pytest.mark.skipif(_older(torch.__version__, (2, 8)), reason="this torch imports sympy itself")
needs_careful_tqdm = pytest.mark.skipif(
    _older(tqdm.__version__, (4, 68)), reason="this tqdm prints a traceback where its start is interrupted"
)
