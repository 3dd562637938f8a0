"""This module says where the weights lie that come with the pack."""

from ..quality.bundled import SHIPPED_ASSESSOR as SHIPPED_ASSESSOR
from ..weight_files import WEIGHTS

SHIPPED_RESTORER = WEIGHTS / "adaqual_nano.safetensors"
"""The restorer; :func:`adaqual_core.published.read.load_restorer` opens it."""
