"""This module is the abstractor of mPLUG-Owl2: learned queries that summarise the vision tokens (method.md section 4)."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .config import DeqaConfig


class _Attention(nn.Module):
    """In this layer the queries attend to themselves and to the vision tokens. Positions are fixed sin-cos buffers that the file
    holds.
    """

    q_pos_embed: Tensor
    k_pos_embed: Tensor

    def __init__(self, config: DeqaConfig, operations):
        super().__init__()
        own = config.abstractor
        width = own.hidden_size
        self.heads = own.num_attention_heads
        self.query = operations.Linear(width, width)
        self.key = operations.Linear(width, width)
        self.value = operations.Linear(width, width)
        self.register_buffer("q_pos_embed", torch.zeros(own.num_learnable_queries, width))
        self.register_buffer("k_pos_embed", torch.zeros(config.vision.tokens, width))

    def _split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def forward(self, queries: Tensor, seen: Tensor) -> Tensor:
        own, others = self.q_pos_embed.to(queries), self.k_pos_embed.to(queries)
        q = self._split(self.query(queries + own))
        k = self._split(self.key(seen + torch.cat([own, others])))
        v = self._split(self.value(seen))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class _Mlp(nn.Module):
    """This layer computes w2(ffn_ln(silu(w1 x)·w3 x))."""

    def __init__(self, config: DeqaConfig, operations):
        super().__init__()
        width, inner = config.abstractor.hidden_size, config.abstractor.intermediate_size
        self.w1 = operations.Linear(width, inner)
        self.w2 = operations.Linear(inner, width)
        self.w3 = operations.Linear(width, inner)
        self.ffn_ln = operations.LayerNorm(inner, eps=config.abstractor.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(self.ffn_ln(F.silu(self.w1(x)) * self.w3(x)))


class _Output(nn.Module):
    """This layer adds both residual branches of a layer: the attention's output, then the MLP."""

    def __init__(self, config: DeqaConfig, operations):
        super().__init__()
        width = config.abstractor.hidden_size
        self.out_proj = operations.Linear(width, width)
        self.norm2 = operations.LayerNorm(width)
        self.mlp = _Mlp(config, operations)

    def forward(self, attended: Tensor, base: Tensor) -> Tensor:
        x = base + self.out_proj(attended)
        return x + self.mlp(self.norm2(x))


class _CrossAttention(nn.Module):
    def __init__(self, config: DeqaConfig, operations):
        super().__init__()
        width = config.abstractor.hidden_size
        self.norm1 = operations.LayerNorm(width)
        self.normk = operations.LayerNorm(width)
        self.attention = _Attention(config, operations)
        self.output = _Output(config, operations)

    def forward(self, queries: Tensor, vision: Tensor) -> Tensor:
        base = self.norm1(queries)  # the residual's base is the normed tensor
        return self.output(self.attention(base, torch.cat([base, self.normk(vision)], 1)), base)


class AbstractorLayer(nn.Module):
    """This layer maps queries [B, N, W] and vision tokens [B, T, W] to queries [B, N, W]."""

    def __init__(self, config: DeqaConfig, operations):
        super().__init__()
        self.crossattention = _CrossAttention(config, operations)

    def forward(self, queries: Tensor, vision: Tensor) -> Tensor:
        return self.crossattention(queries, vision)


class _Encoder(nn.Module):
    """This module holds the layers under the names of the published file."""

    def __init__(self, config: DeqaConfig, operations):
        super().__init__()
        count = config.abstractor.num_hidden_layers
        self.layers = nn.ModuleList(AbstractorLayer(config, operations) for _ in range(count))


class Abstractor(nn.Module):
    """This module holds the parts in the order in which :class:`.network.DeqaNet` runs them: query_embeds, encoder.layers,
    visual_fc, vit_eos.
    """

    def __init__(self, config: DeqaConfig, operations):
        super().__init__()
        width, queries = config.abstractor.hidden_size, config.abstractor.num_learnable_queries
        self.query_embeds = nn.Parameter(torch.zeros(1, queries, width))
        self.encoder = _Encoder(config, operations)
        self.visual_fc = operations.Linear(width, config.language.hidden_size)
        self.vit_eos = nn.Parameter(torch.zeros(1, 1, config.language.hidden_size))
