"""This module runs a network where its weights are, with a second try in float32 where a lower precision fails."""

import copy
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from ..errors import NumericalError


def _finite(found: Tensor | tuple[Tensor, ...]) -> bool:
    return all(bool(torch.isfinite(one).all()) for one in (found if isinstance(found, tuple) else (found,)))


class Runner:
    """This class is a network as a function of tensors on the CPU, which gives float32 on the CPU (a tuple where the network
    gives one).

    Floating-point inputs of two dimensions or more are computed in ``dtype``, that of the weights where None. NaN and infinity
    are computed again in float32, with a copy of the weights; if that does not help :class:`NumericalError` names the place.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype | None = None):
        weights = next(model.parameters())
        self.model: Any = model  # its attributes are its family's
        self.device, self.dtype = weights.device, dtype or weights.dtype
        self._exact: Any = None

    def __call__(self, inputs: Mapping[str, Tensor], place: str, part: str = "", **options) -> Any:
        """Return what the network, or the ``part`` of it (the dotted name of a submodule or method), gives for these arguments.

        ``place`` says in an error where in the picture the inputs come from. ``options`` are passed on as they are.
        """
        found = self._run(self.model, part, inputs, self.dtype, options)
        if not _finite(found) and self.dtype != torch.float32:
            exact = self._exact = self._exact or copy.deepcopy(self.model).float()
            found = self._run(exact, part, inputs, torch.float32, options)
        if not _finite(found):
            raise NumericalError(
                f"the network gave NaN or infinity at {place}, in float32 too; "
                "the checkpoint is damaged or not made for this picture: load another"
            )
        return found

    def _run(self, model: nn.Module, part: str, inputs: Mapping[str, Tensor], dtype: torch.dtype, options: Mapping):
        sent = {name: x.to(self.device, dtype if x.is_floating_point() and x.ndim > 1 else None) for name, x in inputs.items()}
        with torch.inference_mode():
            found = (attrgetter(part)(model) if part else model)(**sent, **options)
        return tuple(one.float().cpu() for one in found) if isinstance(found, tuple) else found.float().cpu()
