"""This module is residual diffusion by DDIM with x0 prediction (Song et al. 2021; paper section 3.3): schedules, step and loop.

The state is x_t = √ā_t·r + √(1−ā_t)·n with the residual r and noise n of any scale; the scale is that of the noise given.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

TRAIN_STEPS = 1000
SCHEDULES = ("trailing", "official")
_ROWS = 256


def alphas_cumprod() -> Tensor:
    """Return ā_t [1000] in float32 of the linear schedule with β from 1e-4 to 0.02."""
    betas = torch.linspace(1e-4, 0.02, TRAIN_STEPS, dtype=torch.float64)
    return (1 - betas).cumprod(0).float()


def timesteps(schedule: str, steps: int) -> list[int]:
    """Return descending timesteps: "trailing" starts at 999 (2 steps: [999, 499]), "official" ends at 0 (2 steps: [500, 0]).
    Raises ValueError for other schedules, and unless there are 1 to 1000 steps.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule: '{schedule}'; choose trailing or official")
    if not 1 <= steps <= TRAIN_STEPS:
        raise ValueError(f"steps: {steps}; give 1 to {TRAIN_STEPS} (2 is what the models are trained for)")
    if schedule == "trailing":
        return [round(TRAIN_STEPS * (steps - i) / steps) - 1 for i in range(steps)]
    return [i * (TRAIN_STEPS // steps) for i in reversed(range(steps))]


def previous_alpha(alphas: Tensor, steps: Sequence[int], index: int) -> float:
    """Return ā of the state to which step ``index`` leads: that of the next timestep, or 1 (no noise) after the last."""
    return float(alphas[steps[index + 1]]) if index + 1 < len(steps) else 1.0


def ddim_step(
    x: Tensor,
    x0: Tensor,
    alpha: float,
    alpha_next: float,
    eta: float = 0.0,
    noise: Tensor | None = None,
    *,
    unclipped: Tensor | None = None,
) -> Tensor:
    """Return the state at ā = ``alpha_next``, given the state ``x`` at ā = ``alpha`` and the prediction ``x0`` (any shape).

    ``eta`` in [0, 1] exchanges part of the noise for the fresh ``noise`` given (DDIM equation 12 and 16). The noise that
    remains is read from ``x`` and ``x0``, or ``unclipped``, the prediction before it was clamped to ``x0``, where given.
    """
    direction = (x - alpha**0.5 * (x0 if unclipped is None else unclipped)) / (1 - alpha) ** 0.5
    sigma = eta * ((1 - alpha_next) / (1 - alpha) * (1 - alpha / alpha_next)) ** 0.5
    following = alpha_next**0.5 * x0 + max(0.0, 1 - alpha_next - sigma**2) ** 0.5 * direction
    return following if sigma == 0 or noise is None else following + sigma * noise


class Estimate(NamedTuple):
    """This class is a prediction of the clean data, as large as the state.

    ``x0``: clamped to its range. ``unclipped``: the prediction before that, for networks whose sampler reads the remaining noise
    from it; None reads it from ``x0``.
    """

    x0: Tensor
    unclipped: Tensor | None = None


def ddim(
    predict: Callable[[Tensor, int], Estimate],
    state: Tensor,
    steps: Sequence[int],
    *,
    eta: float = 0.0,
    fresh_noise: Callable[[int], Tensor] | None = None,
) -> Tensor:
    """Return the data x0 that DDIM samples from the noise ``state`` [..., H, W] along the timesteps ``steps`` (descending).

    ``predict(state, t)`` estimates the data; it may give the same tensors again at every step. ``eta`` in [0, 1] exchanges part
    of the noise for ``fresh_noise(index)``, which is asked after each step but the last for noise of the start's scale.
    ``state`` is overwritten, in strips of rows, so that no further tensor of its size is needed.
    """
    *earlier, last = steps
    alphas = alphas_cumprod()
    for index, t in enumerate(earlier):
        x0, unclipped = predict(state, t)
        fresh = fresh_noise(index) if eta > 0 and fresh_noise is not None else None
        alpha, following = float(alphas[t]), previous_alpha(alphas, steps, index)
        for top in range(0, state.shape[-2], _ROWS):
            rows = (..., slice(top, top + _ROWS), slice(None))
            drawn, raw = (None if x is None else x[rows] for x in (fresh, unclipped))
            state[rows] = ddim_step(state[rows], x0[rows], alpha, following, eta, drawn, unclipped=raw)
    return predict(state, last).x0
