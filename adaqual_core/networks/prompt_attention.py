"""This module is the cross-attention through which the prompt's tokens reach the denoiser (paper section 3, method.md section 3).

One set of tokens serves the whole picture. What makes the prompt of a cell its own is a bias that the cell adds to its attention
logits (:mod:`adaqual_core.networks.kind_prompts`).
"""

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Guidance:
    """This class holds tokens [B, n, E] and the bias [B, n, h, w] that every cell adds to its attention logits."""

    tokens: Tensor
    bias: Tensor


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
