"""Running a network where its weights are, with a second try in float32 where a lower precision fails."""

import copy

import torch
import torch.nn as nn
from torch import Tensor

from ..errors import NumericalError


class Runner:
    """A network as a function of tensors on the CPU, giving float32 on the CPU.

    Inputs of 2 and 4 dimensions are computed in ``dtype``, that of the weights where None. NaN and infinity are computed
    again in float32, with a copy of the weights; if that does not help :class:`NumericalError` names the place.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype | None = None):
        weights = next(model.parameters())
        self.model, self.device, self.dtype = model, weights.device, dtype or weights.dtype
        self.exact: nn.Module | None = None

    def __call__(self, inputs: list[Tensor], place: str, **options) -> Tensor:
        found = self._run(self.model, inputs, self.dtype, options)
        if not bool(torch.isfinite(found).all()) and self.dtype != torch.float32:
            self.exact = self.exact or copy.deepcopy(self.model).float()
            found = self._run(self.exact, inputs, torch.float32, options)
        if not bool(torch.isfinite(found).all()):
            raise NumericalError(
                f"the network gave NaN or infinity at {place}, in float32 too; "
                "the checkpoint is damaged or not made for this picture: load another"
            )
        return found

    def _run(self, model: nn.Module, inputs: list[Tensor], dtype: torch.dtype, options: dict) -> Tensor:
        sent = [x.to(self.device, dtype if x.ndim in (2, 4) else None) for x in inputs]
        with torch.inference_mode():
            return model(*sent, **options).float().cpu()
