"""This module makes prompt tokens, and the cross-attention through which they reach the denoiser (method.md section 3).

One set of tokens serves the whole picture: the global prompt P_g, conditioned once per picture, and K pools of local
tokens. What makes the prompt of a cell its own is an additive bias on the attention logits: log α_k(q) for the pools and
log σ((L − l)/τ) for the l-th token of each, with the cell's own severity q and length L.
"""

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

_TEMPERATURE = 1.0
_FREQUENCIES = 8


@dataclass(frozen=True)
class Guidance:
    """This class holds tokens [B, n, E] and the bias [B, n, h, w] that every cell adds to its attention logits."""

    tokens: Tensor
    bias: Tensor


def _drawn(*shape: int) -> Tensor:
    """Start values of tokens, normal with standard deviation 0.5.

    None are drawn on the meta device: weights of a file follow, and drawing there would import torch's compiler.
    """
    values = torch.empty(*shape)
    return values if values.is_meta else values.normal_().mul_(0.5)


class PromptTokens(nn.Module):
    """This module maps severity and length [B, 1, h, w] and a condition vector [B, E] to the :class:`Guidance`."""

    def __init__(self, width: int, global_tokens: int, pools: int, length: int, operations=nn):
        super().__init__()
        self.length = length
        self.global_prompt = nn.Parameter(_drawn(global_tokens, width))
        self.pool = nn.Parameter(_drawn(pools, length, width))
        self.keys = nn.Parameter(_drawn(pools, width))
        self.condition = operations.Linear(width, global_tokens * width)
        self.query1 = operations.Linear(2 * _FREQUENCIES, width)
        self.query2 = operations.Linear(width, width)

    def forward(self, severity: Tensor, length: Tensor, condition: Tensor) -> Guidance:
        batch, _, h, w = severity.shape
        width = self.keys.shape[1]
        like = {"dtype": condition.dtype, "device": condition.device}
        waves = torch.arange(1, _FREQUENCIES + 1, device=condition.device) * (torch.pi / 2)
        phase = severity.permute(0, 2, 3, 1).float() * waves
        query = self.query2(F.silu(self.query1(torch.cat((phase.cos(), phase.sin()), -1).to(**like))))
        share = (query @ self.keys.to(**like).T).float() / width**0.5
        steps = torch.arange(self.length, device=condition.device)
        kept = F.logsigmoid((length.permute(0, 2, 3, 1).float() - steps - 0.5) / _TEMPERATURE)
        local = (share.log_softmax(-1)[..., None] + kept[..., None, :]).flatten(3)
        shared = torch.zeros(batch, h, w, len(self.global_prompt), device=condition.device)
        tokens = self.global_prompt.to(**like) + self.condition(condition).view(batch, -1, width)
        pools = self.pool.to(**like).flatten(0, 1).expand(batch, -1, -1)
        return Guidance(torch.cat((tokens, pools), 1), torch.cat((shared, local), -1).permute(0, 3, 1, 2))


class PromptAttention(nn.Module):
    """This layer is pre-norm cross-attention of features [B, C, h, w] to the prompt, with residual and a gate that starts at
    zero.
    """

    def __init__(self, channels: int, prompt_width: int, heads: int, operations=nn):
        super().__init__()
        self.heads = heads
        self.norm = operations.LayerNorm(channels)
        self.prompt_norm = operations.LayerNorm(prompt_width)
        self.query = operations.Linear(channels, channels)
        self.key_value = operations.Linear(prompt_width, 2 * channels)
        self.out = operations.Linear(channels, channels)
        self.gate = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, guidance: Guidance) -> Tensor:
        batch, channels, h, w = x.shape
        bias = guidance.bias
        if bias.shape[-2:] != (h, w):
            bias = F.interpolate(bias, (h, w), mode="nearest")
        query = self.query(self.norm(x.permute(0, 2, 3, 1))).reshape(batch, h * w, self.heads, -1).transpose(1, 2)
        pair = self.key_value(self.prompt_norm(guidance.tokens)).view(batch, -1, 2, self.heads, channels // self.heads)
        key, value = pair.permute(2, 0, 3, 1, 4)
        mask = bias.flatten(2).transpose(1, 2)[:, None].to(query.dtype)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        seen = self.out(seen.transpose(1, 2).reshape(batch, h, w, channels)) * self.gate.to(x)
        return x + seen.permute(0, 3, 1, 2)
