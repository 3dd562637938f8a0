"""This module is the network of the authors' released checkpoints ("official layout"), with their key names (method.md section
2).

Written from a description of the layout; none of the authors' code is used. There the prompt never reaches the network.
Mode "published" reproduces that. Mode "prompted" applies the checkpoint's prompt module and its two attentions at the
bottleneck as the paper describes them; where the paper is silent the definition is ours (:class:`OfficialNet`).
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..prompt import MAX_LENGTH
from .embedding import sinusoid
from .family import WHOLE, Family, Shapes, Sizes, Stated

MODES = ("published", "prompted")
STRIP = 1 << 22
"""Elements of the widest activation held at once in inference: blocks work through a picture in strips of rows."""

_PROJECTION = r"prompt_pool\.input_projections\.proj_(\d+)\.weight"


@dataclass(frozen=True)
class OfficialConfig:
    """This class holds the sizes of the network. ``encoder``, ``decoder``: blocks per level; the decoder is listed coarsest level
    first.

    ``prompt_width``, ``global_tokens``, ``pools``, ``pool_length``: the prompt module; ``projections``: input widths of
    its projections, which exist only in some checkpoints. ``noise_scale``: sampling starts from unit noise.
    """

    width: int = 64
    encoder: tuple[int, ...] = (1, 1, 1, 18)
    middle: int = 1
    decoder: tuple[int, ...] = (1, 1, 1, 1)
    prompt_width: int = 256
    global_tokens: int = 8
    pools: int = 10
    pool_length: int = 32
    projections: tuple[int, ...] = ()
    heads: int = 8
    noise_scale: float = 1.0


def read_config(shapes: Shapes, heads: int = 8) -> OfficialConfig:
    """Return the sizes that tensors of these names and shapes ask for; ``heads`` leaves no trace in them, the authors use 8.

    Raises KeyError for a tensor that is needed and missing, ValueError for impossible shapes.
    """

    def count(pattern: str) -> int:
        return len({found[1] for key in shapes if (found := re.match(pattern, key))})

    levels = count(r"downs\.(\d+)\.")
    (_, global_tokens, prompt_width) = shapes["prompt_pool.global_quality_prompt"]
    (pools, pool_length, _) = shapes["prompt_pool.local_prompt_pool"]
    return OfficialConfig(
        width=shapes["intro.weight"][0],
        encoder=tuple(count(rf"encoders\.{level}\.(\d+)\.") for level in range(levels)),
        middle=count(r"middle_blks\.(\d+)\."),
        decoder=tuple(count(rf"decoders\.{level}\.(\d+)\.") for level in range(levels)),
        prompt_width=prompt_width,
        global_tokens=global_tokens,
        pools=pools,
        pool_length=pool_length,
        projections=tuple(sorted(int(m[1]) for key in shapes if (m := re.fullmatch(_PROJECTION, key)))),
        heads=heads,
    )


def _gate(x: Tensor, dim: int = 1) -> Tensor:
    a, b = x.chunk(2, dim)
    return a * b


class _Gate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return _gate(x)


class _ChannelNorm(nn.Module):
    """Normalise [B, C, H, W] over the channels, scale by ``g``, then x·(1 + scale) + shift with [B, C] each."""

    def __init__(self, channels: int):
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
        weight = self.g.to(x).flatten() * (1 + scale)
        moved = x.permute(0, 2, 3, 1)
        if len(weight) == 1:
            return F.layer_norm(moved, weight.shape[-1:], weight[0], shift[0], eps).permute(0, 3, 1, 2)
        normed = F.layer_norm(moved, weight.shape[-1:], eps=eps).permute(0, 3, 1, 2)
        return torch.addcmul(shift[:, :, None, None], normed, weight[:, :, None, None])


def _sliding_mean(x: Tensor, window: int, dim: int) -> Tensor:
    """Return the mean along ``dim`` over ``window`` places around each, or over as many of them as there are at the borders."""
    length = x.shape[dim]
    if window >= 2 * length:
        return x.mean(dim, keepdim=True).expand_as(x)
    total = F.pad(x.float().transpose(dim, -1).cumsum(-1), (1, 0))
    place = torch.arange(length, device=x.device)
    first, last = (place - window // 2).clamp(min=0), (place + (window + 1) // 2).clamp(max=length)
    mean = (total[..., last] - total[..., first]) / (last - first)
    return mean.transpose(dim, -1).to(x.dtype)


def _strips(x: Tensor) -> Iterator[tuple[int, int]]:
    """Yield the slices of rows that together are the height of ``x``, each of about STRIP elements of 2·C channels."""
    batch, channels, height, width = x.shape
    rows = height if torch.is_grad_enabled() else max(8, STRIP // (2 * batch * channels * width))
    return ((top, min(height, top + rows)) for top in range(0, height, rows))


class _Block(nn.Module):
    def __init__(self, channels: int, time: int, operations):
        super().__init__()
        double = 2 * channels
        self.mlp = nn.Sequential(_Gate(), operations.Linear(time // 2, 4 * channels))
        self.norm1, self.norm2 = _ChannelNorm(channels), _ChannelNorm(channels)
        self.conv1 = operations.Conv2d(channels, double, 1)
        self.conv2 = operations.Conv2d(double, double, 3, padding=1, groups=double)
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), operations.Conv2d(channels, channels, 1))
        self.conv3 = operations.Conv2d(channels, channels, 1)
        self.conv4 = operations.Conv2d(channels, double, 1)
        self.conv5 = operations.Conv2d(channels, channels, 1)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor, time: Tensor, eps: float, window: int | None) -> Tensor:
        shift1, scale1, shift2, scale2 = self.mlp(time).chunk(4, 1)
        height, gated = x.shape[2], torch.empty_like(x)
        for top, bottom in _strips(x):
            above, below = max(0, top - 1), min(height, bottom + 1)
            y = self.conv2(self.conv1(self.norm1(x[:, :, above:below], scale1, shift1, eps)))
            gated[:, :, top:bottom] = _gate(y[:, :, top - above : bottom - above])
            del y
        if window is None:
            share = self.sca(gated)
        else:
            share = self.sca[1](_sliding_mean(_sliding_mean(gated, window, 2), window, 3))
        result = torch.empty_like(x) if torch.is_grad_enabled() else gated
        beta, gamma = self.beta.to(x), self.gamma.to(x)
        for top, bottom in _strips(x):
            part = share if share.shape[2] == 1 else share[:, :, top:bottom]
            y = torch.addcmul(x[:, :, top:bottom], self.conv3(gated[:, :, top:bottom] * part), beta)
            z = self.conv5(_gate(self.conv4(self.norm2(y, scale2, shift2, eps))))
            result[:, :, top:bottom] = torch.addcmul(y, z, gamma)
            del y, z
        return result


class PromptPool(nn.Module):
    """This module is the checkpoint's prompt module: global tokens, pools of local tokens with keys, and the quality
    embedding.
    """

    def __init__(self, config: OfficialConfig, operations):
        super().__init__()
        width = config.prompt_width
        self.global_quality_prompt = nn.Parameter(torch.zeros(1, config.global_tokens, width))
        self.local_prompt_pool = nn.Parameter(torch.zeros(config.pools, config.pool_length, width))
        self.prompt_keys = nn.Parameter(torch.zeros(config.pools, width))
        self.quality_fusion = nn.Sequential(operations.Linear(1, width), nn.ReLU(), operations.Linear(width, width))
        self.input_projections = nn.ModuleDict(
            {f"proj_{channels}": operations.Linear(channels, width) for channels in config.projections}
        )

    def embed(self, quality: Tensor) -> Tensor:
        """Return the embedding [..., E] of qualities [...] in [1, 5]."""
        return self.quality_fusion(quality[..., None])

    def published(self, quality: float) -> Tensor:
        """Return the tokens [1, n, E] that the released module makes for one score in [1, 5]: the global ones, then n_local.

        Their formula: n_local = 5 + round(27·(1 − q/5)) in [5, 32]; pools 0 and 1 averaged above 3, else pools 2 to 5.
        """
        like = self.prompt_keys
        embedded = self.embed(torch.tensor([quality], dtype=like.dtype, device=like.device))
        length = max(5, min(32, 5 + round(27 * (1 - quality / 5))))
        rows = self.local_prompt_pool[0:2] if quality > 3 else self.local_prompt_pool[2:6]
        return torch.cat((self.global_quality_prompt, rows.mean(0, keepdim=True)[:, :length]), 1) + embedded[:, None]


class PromptAttention(nn.Module):
    """This layer is the attention of features [B, C, h, w] to tokens [B, n, E], with an optional bias [B, n, h, w] on the logits.

    No residual and no norm: the keys of the released checkpoints hold neither.
    """

    def __init__(self, channels: int, prompt_width: int, heads: int, operations):
        super().__init__()
        self.heads = heads
        self.q = operations.Linear(channels, channels, bias=False)
        self.kv = operations.Linear(prompt_width, 2 * channels, bias=False)
        self.proj = operations.Linear(channels, channels)

    def forward(self, x: Tensor, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        batch, channels, h, w = x.shape
        query = self.q(x.flatten(2).transpose(1, 2)).view(batch, h * w, self.heads, -1).transpose(1, 2)
        pair = self.kv(tokens).view(len(tokens), -1, 2, self.heads, channels // self.heads)
        key, value = pair.permute(2, 0, 3, 1, 4).expand(-1, batch, -1, -1, -1)
        mask = None if bias is None else bias.flatten(2).transpose(1, 2)[:, None].to(query.dtype)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.proj(seen.transpose(1, 2).reshape(batch, h * w, channels)).transpose(1, 2).reshape(x.shape)


class OfficialNet(nn.Module):
    """This network maps a picture in [0, 1] and its noisy residual to the residual [B, 3, H, W].

    ``timestep`` [B] in 0..999. ``severity`` and ``length`` [B, 1, h, w] and ``statistics`` [B, ≥ 1] (its first entry is
    the mean severity) are a :class:`prompt.Prompt`'s and are used in mode "prompted" only; ``alpha_cumprod`` never is.

    Mode "prompted" (our definition, after the paper's P_g and P_l(Q) and method.md section 3), before the middle
    blocks: x ← x + local(norm(x)), then x ← x + global(norm(x)), norm without parameters. The
    local attention sees all pools; each cell adds log α_k + log σ(L − l − ½) to its logits, α = softmax of the pools'
    keys with the cell's quality embedding plus, where the checkpoint has it, the projected feature; L = ``length``
    scaled from our 16 tokens to the pool's. A cell's quality enters through α and L, the picture's mean quality through
    the global tokens. In checkpoints trained by the released code these weights were never trained: use "published".

    ``pool_window``: None takes the channel attention's mean over all that is given (as published); a number of px takes
    it over a window around each place, so that large pictures can be run in pieces. The result then differs from that of
    the whole picture (Chu et al. 2022, test-time local converter).
    """

    def __init__(self, config: OfficialConfig = OfficialConfig(), mode: str = "published", operations=nn):
        super().__init__()
        levels = len(config.encoder)
        if levels < 1 or len(config.decoder) != levels:
            raise ValueError(f"config: {config}; encoder and decoder need equally many levels, at least one")
        last = config.width * 2**levels
        if last % config.heads:
            raise ValueError(f"heads: {config.heads}; give a divisor of the bottleneck's {last} channels")
        self.config = config
        self.set_mode(mode)
        width = config.width
        time = 4 * width
        widths = [width * 2**level for level in range(levels)]

        def blocks(count: int, channels: int) -> nn.Sequential:
            return nn.Sequential(*(_Block(channels, time, operations) for _ in range(count)))

        self.time_mlp = nn.Sequential(nn.Identity(), operations.Linear(width, 2 * time), _Gate(), operations.Linear(time, time))
        self.intro = operations.Conv2d(6, width, 3, padding=1)
        self.ending = operations.Conv2d(width, 3, 3, padding=1)
        self.encoders = nn.ModuleList(blocks(n, c) for n, c in zip(config.encoder, widths, strict=True))
        self.downs = nn.ModuleList(operations.Conv2d(c, 2 * c, 2, 2) for c in widths)
        self.middle_blks = blocks(config.middle, last)
        self.ups = nn.ModuleList(
            nn.Sequential(operations.Conv2d(2 * c, 4 * c, 1, bias=False), nn.PixelShuffle(2)) for c in widths[::-1]
        )
        self.decoders = nn.ModuleList(blocks(n, c) for n, c in zip(config.decoder, widths[::-1], strict=True))
        self.prompt_pool = PromptPool(config, operations)
        self.attn_local = PromptAttention(last, config.prompt_width, config.heads, operations)
        self.attn_global = PromptAttention(last, config.prompt_width, config.heads, operations)

    def set_mode(self, mode: str) -> None:
        """Choose "published" or "prompted"."""
        if mode not in MODES:
            raise ValueError(f"mode: '{mode}'; choose {' or '.join(MODES)}")
        self.mode = mode

    @property
    def receptive_radius(self) -> int:
        """Return the distance in px beyond which nothing but the channel attention's mean and the prompt influences a pixel."""
        config, levels = self.config, len(self.config.encoder)
        cell = 2**levels
        radius = 2 + cell * config.middle + cell
        for level, (enc, dec) in enumerate(zip(config.encoder, config.decoder[::-1], strict=True)):
            radius += 2**level * (enc + dec)
        return cell * math.ceil(radius / cell)

    def prompted(self, x: Tensor, severity: Tensor, length: Tensor, statistics: Tensor) -> Tensor:
        """Return the bottleneck features [B, C, h, w] after the local and the global prompt."""
        pool, size, config = self.prompt_pool, x.shape[-2:], self.config
        severity, length = (
            field if field.shape[-2:] == size else F.interpolate(field, size, mode="bilinear", align_corners=False)
            for field in (severity.float(), length.float())
        )

        def normed(y: Tensor) -> Tensor:
            return F.layer_norm(y.permute(0, 2, 3, 1), (y.shape[1],), eps=1e-5).permute(0, 3, 1, 2)

        query = pool.embed((5 - 4 * severity[:, 0]).to(x.dtype))
        projection = f"proj_{x.shape[1]}"
        if projection in pool.input_projections:
            query = query + pool.input_projections[projection](normed(x).permute(0, 2, 3, 1))
        share = (query @ pool.prompt_keys.to(x).T).float() / config.prompt_width**0.5
        place = torch.arange(config.pool_length, device=x.device)
        wanted = length * (config.pool_length / MAX_LENGTH)
        kept = F.logsigmoid(wanted[:, 0, :, :, None] - place - 0.5)
        bias = (share.log_softmax(-1)[..., None] + kept[..., None, :]).flatten(3).permute(0, 3, 1, 2)
        tokens = pool.local_prompt_pool.to(x).flatten(0, 1).expand(len(x), -1, -1)
        x = x + self.attn_local(normed(x), tokens, bias)
        mean_quality = (5 - 4 * statistics[:, :1]).to(x.dtype)
        return x + self.attn_global(normed(x), pool.global_quality_prompt.to(x) + pool.embed(mean_quality))

    def forward(
        self,
        picture: Tensor,
        noisy: Tensor,
        timestep: Tensor,
        alpha_cumprod: Tensor | None = None,
        severity: Tensor | None = None,
        length: Tensor | None = None,
        statistics: Tensor | None = None,
        *,
        pool_window: int | None = None,
    ) -> Tensor:
        asked: tuple[Tensor, Tensor, Tensor] | None = None
        if self.mode == "prompted":
            if severity is None or length is None or statistics is None:
                raise ValueError("severity, length, statistics: missing; 'prompted' needs a prompt's, 'published' none")
            asked = severity, length, statistics
        levels = len(self.downs)
        height, width = picture.shape[-2:]
        eps = 1e-5 if self.mode == "prompted" or picture.dtype == torch.float32 else 1e-3
        x = torch.cat((picture, noisy), 1)
        x = F.pad(x, (0, -width % 2**levels, 0, -height % 2**levels))
        x = self.intro(x.contiguous(memory_format=torch.channels_last))
        time = self.time_mlp(sinusoid(timestep, self.config.width).to(x.dtype))

        def run(blocks: Any, x: Tensor, level: int) -> Tensor:
            window = None if pool_window is None else max(1, pool_window >> level)
            for block in blocks:
                x = block(x, time, eps, window)
            return x

        skips = []
        for level, (blocks, down) in enumerate(zip(self.encoders, self.downs, strict=True)):
            skips.append(x)
            x = down(run(blocks, x, level))
        if asked is not None:
            x = self.prompted(x, *asked)
        x = run(self.middle_blks, x, levels)
        entry = skips[0]
        for level, blocks, up in zip(range(levels - 1, -1, -1), self.decoders, self.ups, strict=True):
            x = run(blocks, up(x) + skips.pop(), level)
        return self.ending(x + entry)[:, :, :height, :width]


def _build(shapes: Shapes, stated: Stated, operations: Any) -> OfficialNet:
    return OfficialNet(read_config(shapes, stated.heads or 8), stated.mode, operations)


def _memory(network: OfficialNet, sizes: Sizes, height: int, width: int) -> float:
    size = next(network.parameters()).element_size()
    return 8 * network.config.width * size * min(height * width, (WHOLE * sizes.tile) ** 2)


FAMILY = Family(
    name="adaqual_official",
    title="AdaQual-Diff, official layout",
    network=OfficialNet,
    signature=(
        "intro.weight",
        "ending.weight",
        "time_mlp.1.weight",
        "downs.0.weight",
        "prompt_pool.local_prompt_pool",
        "attn_local.q.weight",
        "encoders.0.0.beta",
    ),
    ignored=("condition_fusion.", "lpips_fn.", "deqa_scorer."),
    tiling="regions",
    memory=_memory,
    unclipped=True,
    schedule="official",
    build=_build,
)
