"""This module is the vision tower of mPLUG-Owl2: a pre-norm ViT with fused query, key and value (method.md section 4)."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .config import VisionConfig


class Embeddings(nn.Module):
    """This layer maps normalised pixels [B, 3, S, S] to tokens [B, 1 + (S/patch)², W], the class token first."""

    def __init__(self, config: VisionConfig, operations):
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position_embedding = nn.Parameter(torch.zeros(1, config.tokens, width))
        self.patch_embed = operations.Conv2d(3, width, patch, patch, bias=False)
        self.pre_layernorm = operations.LayerNorm(width, eps=config.layer_norm_eps)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embed(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.to(patches).expand(len(patches), -1, -1), patches], 1)
        return self.pre_layernorm(x + self.position_embedding.to(x))


class _Attention(nn.Module):
    """This layer is self-attention. The output of the fused projection is laid out [heads, 3, head width]."""

    def __init__(self, config: VisionConfig, operations):
        super().__init__()
        self.heads = config.num_attention_heads
        self.query_key_value = operations.Linear(config.hidden_size, 3 * config.hidden_size)
        self.dense = operations.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.query_key_value(x).view(batch, length, self.heads, 3, -1).permute(3, 0, 2, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.dense(y.transpose(1, 2).reshape(batch, length, width))


class _Mlp(nn.Module):
    """This layer computes W2·QuickGELU(W1·x) with QuickGELU(x) = x·σ(1.702 x)."""

    def __init__(self, config: VisionConfig, operations):
        super().__init__()
        self.fc1 = operations.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = operations.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x))


class VisionLayer(nn.Module):
    """This layer maps tokens [B, T, W] to tokens [B, T, W]."""

    def __init__(self, config: VisionConfig, operations):
        super().__init__()
        self.input_layernorm = operations.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = _Attention(config, operations)
        self.post_attention_layernorm = operations.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = _Mlp(config, operations)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class _Encoder(nn.Module):
    """This module holds the layers under the names of the published file."""

    def __init__(self, config: VisionConfig, operations):
        super().__init__()
        self.layers = nn.ModuleList(VisionLayer(config, operations) for _ in range(config.num_hidden_layers))


class VisionTower(nn.Module):
    """This module holds the parts in the order in which :class:`.network.DeqaNet` runs them: embeddings, encoder.layers,
    post_layernorm.
    """

    def __init__(self, config: VisionConfig, operations):
        super().__init__()
        self.embeddings = Embeddings(config, operations)
        self.encoder = _Encoder(config, operations)
        self.post_layernorm = operations.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
