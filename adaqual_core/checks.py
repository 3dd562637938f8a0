"""This module checks settings, tensors and pictures, as every stage demands them."""

from dataclasses import fields
from numbers import Integral, Real
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_NUMBERS = {int: (Integral, "a whole number"), float: (Real, "a number")}


def check_number(name: str, value: object, kind: type = float) -> None:
    """Raise ValueError unless ``value`` is a number (``kind`` float) or a whole number (``kind`` int), and no bool."""
    accepted, words = _NUMBERS[kind]
    if not isinstance(value, accepted) or isinstance(value, bool):
        raise ValueError(f"{name}: {value!r}; give {words}")


def check_numbers(settings: "DataclassInstance") -> None:
    """Raise ValueError unless every field of a dataclass that is annotated as int or float holds such a number."""
    for field in fields(settings):
        if isinstance(field.type, type) and field.type in _NUMBERS:
            check_number(field.name, getattr(settings, field.name), field.type)


def check_range(name: str, value: float, least: float, most: float) -> None:
    """Raise ValueError unless ``value`` is a number from ``least`` to ``most``; NaN is none."""
    check_number(name, value)
    if not least <= value <= most:
        raise ValueError(f"{name}: {value}; give {least:g} to {most:g}")


def check_tensor(name: str, value: object) -> None:
    """Raise ValueError unless ``value`` is a dense tensor of real numbers that has storage."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name}: {type(value).__name__}; give a tensor")
    if value.layout != torch.strided or value.device.type == "meta" or value.is_complex():
        raise ValueError(f"{name}: {value.layout}, {value.dtype} on {value.device}; give a dense tensor of real numbers")


def check_picture(picture: Tensor) -> None:
    """Raise ValueError unless ``picture`` is a finite float [B ≥ 1, 3 or 4, H ≥ 1, W ≥ 1]."""
    check_tensor("picture", picture)
    if picture.ndim != 4 or picture.shape[1] not in (3, 4) or 0 in picture.shape:
        raise ValueError(f"picture: shape {tuple(picture.shape)}; give [B, 3, H, W], or 4 channels with alpha")
    if not picture.is_floating_point():
        raise ValueError(f"picture: {picture.dtype}; give floats in [0, 1]")
    if not bool(torch.isfinite(picture).all()):
        raise ValueError("picture: holds NaN or infinity; repair the node or file that made it")
