"""Damage on purpose: eight kinds of it, alone and composed, with the exact severity of each kind at every pixel."""

from ..kinds import KINDS
from .compose import Degraded, DegradedBatch, degrade, degrade_batch

__all__ = ["KINDS", "Degraded", "DegradedBatch", "degrade", "degrade_batch"]
