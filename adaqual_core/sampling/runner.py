"""Running a network where its weights are, with a second try in float32 where a lower precision fails."""

import copy

import torch
import torch.nn as nn
from torch import Tensor

from ..errors import NumericalError


def _finite(found: Tensor | tuple[Tensor, ...]) -> bool:
    return all(bool(torch.isfinite(one).all()) for one in (found if isinstance(found, tuple) else (found,)))


class Runner:
    """A network as a function of tensors on the CPU, giving float32 on the CPU (a tuple where the network gives one).

    Floating-point inputs of two dimensions or more are computed in ``dtype``, that of the weights where None. NaN and infinity
    are computed again in float32, with a copy of the weights; if that does not help :class:`NumericalError` names the place.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype | None = None):
        weights = next(model.parameters())
        self.model, self.device, self.dtype = model, weights.device, dtype or weights.dtype
        self.exact: nn.Module | None = None

    def __call__(self, inputs: list[Tensor], place: str, **options):
        found = self._run(self.model, inputs, self.dtype, options)
        if not _finite(found) and self.dtype != torch.float32:
            self.exact = self.exact or copy.deepcopy(self.model).float()
            found = self._run(self.exact, inputs, torch.float32, options)
        if not _finite(found):
            raise NumericalError(
                f"the network gave NaN or infinity at {place}, in float32 too; "
                "the checkpoint is damaged or not made for this picture: load another"
            )
        return found

    def _run(self, model: nn.Module, inputs: list[Tensor], dtype: torch.dtype, options: dict):
        sent = [x.to(self.device, dtype if x.is_floating_point() and x.ndim > 1 else None) for x in inputs]
        with torch.inference_mode():
            found = model(*sent, **options)
        return tuple(one.float().cpu() for one in found) if isinstance(found, tuple) else found.float().cpu()
