"""This module makes prompt tokens keyed by the kind and the severity of damage (our definition after paper section 3).

One set of tokens serves the whole picture: the global prompt, conditioned once per picture, and pools of local tokens, two for
each kind of damage (mild and severe) and two for undamaged places. The prompt of a cell becomes its own through an additive bias
on the attention logits: the logarithm of each pool's share in that cell, and of each token's weight under the cell's soft length.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..kinds import KINDS
from .prompt_attention import Guidance

POOLS = 2 * (len(KINDS) + 1)
"""Number of local pools: two for each kind, and two for undamaged places."""

_TEMPERATURE = 1.0
_FREQUENCIES = 4
_FLOOR = 0.01


def local_features(severity: Tensor, kinds: Tensor) -> Tensor:
    """Return the Fourier features [B, h, w, 2·4·9] of overall severity [B, 1, h, w] and severities by kind [B, 8, h, w], all in
    [0, 1].
    """
    waves = torch.arange(1, _FREQUENCIES + 1, device=kinds.device) * (torch.pi / 2)
    phase = torch.cat((severity, kinds), 1).permute(0, 2, 3, 1).float()[..., None] * waves
    return torch.cat((phase.cos(), phase.sin()), -1).flatten(3)


class KindPrompts(nn.Module):
    """This module makes the :class:`Guidance` of pictures from severity, kinds, soft lengths and a condition vector.

    ``width``: size E of a token. ``global_tokens``: number of global tokens. ``length``: number of tokens in each pool.
    """

    def __init__(self, width: int, global_tokens: int, length: int, operations=nn):
        super().__init__()
        self.length = length
        self.global_prompt = nn.Parameter(torch.empty(global_tokens, width))
        self.pool = nn.Parameter(torch.empty(POOLS, length, width))
        self.keys = nn.Parameter(torch.empty(POOLS, width))
        self.condition = operations.Linear(width, global_tokens * width)
        self.query1 = operations.Linear(2 * _FREQUENCIES * (len(KINDS) + 1), width)
        self.query2 = operations.Linear(width, width)

    def forward(self, severity: Tensor, kinds: Tensor, length: Tensor, condition: Tensor) -> Guidance:
        """Return the guidance for ``severity`` and ``length`` [B, 1, h, w], ``kinds`` [B, 8, h, w] and ``condition`` [B, E]."""
        batch, _, h, w = severity.shape
        width = self.keys.shape[1]
        like = {"dtype": condition.dtype, "device": condition.device}
        query = self.query2(F.silu(self.query1(local_features(severity, kinds).to(**like))))
        learnt = (query @ self.keys.to(**like).T).float() / width**0.5
        undamaged = (1 - kinds.float()).clamp(0, 1).prod(1, keepdim=True)
        present = torch.cat((kinds.float(), undamaged), 1).clamp_min(_FLOOR).log().permute(0, 2, 3, 1)
        share = (learnt + present.repeat_interleave(2, -1)).log_softmax(-1)
        steps = torch.arange(self.length, device=condition.device)
        kept = F.logsigmoid((length.permute(0, 2, 3, 1).float() - steps - 0.5) / _TEMPERATURE)
        local = (share[..., None] + kept[..., None, :]).flatten(3)
        shared = torch.zeros(batch, h, w, len(self.global_prompt), device=condition.device)
        tokens = self.global_prompt.to(**like) + self.condition(condition).view(batch, -1, width)
        pools = self.pool.to(**like).flatten(0, 1).expand(batch, -1, -1)
        return Guidance(torch.cat((tokens, pools), 1), torch.cat((shared, local), -1).permute(0, 3, 1, 2))
