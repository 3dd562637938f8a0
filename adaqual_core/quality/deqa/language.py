"""This module is the language model of mPLUG-Owl2: a LLaMA whose norms, keys and values differ for text and for picture tokens.

A sequence is described by its parts, ``((kind, length), ...)`` with kind ``TEXT`` or ``IMAGE``. Each part is computed with the
weights of its kind only.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .config import LanguageConfig

TEXT, IMAGE = 0, 1

Parts = tuple[tuple[int, int], ...]
KeysValues = tuple[Tensor, Tensor]


class _Multiway(nn.Module):
    """This module applies two modules of one shape to x [B, T, W]: ``multiway.0`` to text and ``multiway.1`` to picture
    tokens.
    """

    def __init__(self, make):
        super().__init__()
        self.multiway = nn.ModuleList([make(), make()])

    def forward(self, x: Tensor, parts: Parts) -> Tensor:
        pieces = x.split([length for _, length in parts], 1)
        return torch.cat([self.multiway[kind](piece) for (kind, _), piece in zip(parts, pieces, strict=True)], 1)


def rotary(start: int, length: int, config: LanguageConfig, like: Tensor) -> KeysValues:
    """Return the cosines and sines [length, head width] of the rotary positions start … start + length − 1."""
    exponent = torch.arange(0, config.head_size, 2, device=like.device, dtype=torch.float32) / config.head_size
    positions = torch.arange(start, start + length, device=like.device, dtype=torch.float32)
    angles = torch.outer(positions, 1.0 / config.rope_theta**exponent).repeat(1, 2)
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def _rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cosines + torch.cat([-second, first], -1) * sines


class _Attention(nn.Module):
    def __init__(self, config: LanguageConfig, operations):
        super().__init__()
        self.config = config
        width, size = config.hidden_size, config.head_size
        inner = config.num_key_value_heads * size
        self.q_proj = operations.Linear(width, width, bias=False)
        self.k_proj = _Multiway(lambda: operations.Linear(width, inner, bias=False))
        self.v_proj = _Multiway(lambda: operations.Linear(width, inner, bias=False))
        self.o_proj = operations.Linear(width, width, bias=False)

    def forward(self, x: Tensor, parts: Parts, past: KeysValues | None, last: bool) -> tuple[Tensor, KeysValues]:
        batch, length, _ = x.shape
        start = past[0].shape[2] if past is not None else 0
        cosines, sines = rotary(start, length, self.config, x)
        k = self._split(self.k_proj(x, parts))
        v = self._split(self.v_proj(x, parts))
        k = _rotate(k, cosines, sines)
        kept = (k, v)
        if past is not None:
            k, v = (torch.cat([old.expand(batch, -1, -1, -1), new], 2) for old, new in zip(past, kept, strict=True))
        if last:
            q = _rotate(self._split(self.q_proj(x[:, -1:])), cosines[-1:], sines[-1:])
            mask = None
        else:
            q = _rotate(self._split(self.q_proj(x)), cosines, sines)
            mask = torch.ones(length, start + length, dtype=torch.bool, device=x.device).tril(start)
        groups = self.config.num_attention_heads // self.config.num_key_value_heads
        if groups > 1:
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.o_proj(y.transpose(1, 2).flatten(2)), kept

    def _split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], -1, self.config.head_size).transpose(1, 2)


class _Mlp(nn.Module):
    def __init__(self, config: LanguageConfig, operations):
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = operations.Linear(width, inner, bias=False)
        self.up_proj = operations.Linear(width, inner, bias=False)
        self.down_proj = operations.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class LanguageLayer(nn.Module):
    """This layer maps hidden states [B, T, W] of the given parts to hidden states, and also returns its keys and values [B,
    heads, T, head].

    ``past``: keys and values [1 or B, heads, P, head] of P tokens that precede these. ``last``: only the last token's hidden
    state, [B, 1, W], is computed; the other tokens contribute their keys and values.
    """

    def __init__(self, config: LanguageConfig, operations):
        super().__init__()

        def norm():
            return operations.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

        self.input_layernorm = _Multiway(norm)
        self.self_attn = _Attention(config, operations)
        self.post_attention_layernorm = _Multiway(norm)
        self.mlp = _Mlp(config, operations)

    def forward(self, x: Tensor, parts: Parts, past: KeysValues | None = None, last: bool = False) -> tuple[Tensor, KeysValues]:
        attended, kept = self.self_attn(self.input_layernorm(x, parts), parts, past, last)
        if last:
            x, parts = x[:, -1:], ((parts[-1][0], 1),)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x, parts)), kept
