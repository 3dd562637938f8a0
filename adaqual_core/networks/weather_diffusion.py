"""This module is the U-Net of WeatherDiffusion's checkpoints, with their key names (Özdenizci & Legenstein, TPAMI 2023).

The architecture is DDPM's (Ho et al. 2020, as in DDIM): residual blocks with GroupNorm of 32 groups, one head of
self-attention where the keys have it, a time embedding. Sizes are read from tensor shapes.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .family import Family, Shapes, Sizes, Stated, Told
from .winograd import conv3x3

GROUPS = 32


@dataclass(frozen=True)
class WeatherConfig:
    """This class holds the sizes of the U-Net, finest level first.

    ``widths``: channels per level; ``blocks``: residual blocks per level down (one more up); ``attention``: whether a
    level attends; ``first``: channels after the first convolution; ``time``: width of the time embedding; ``patch``:
    side in px of the patches it was trained on, a multiple of 2^(levels − 1). ``noise_scale``: sampling starts from unit noise.
    """

    first: int = 128
    widths: tuple[int, ...] = (128, 256, 384, 512)
    blocks: int = 2
    attention: tuple[bool, ...] = (False, False, True, False)
    time: int = 512
    patch: int = 64
    noise_scale: float = 1.0


def read_config(shapes: Shapes, patch: int | None = None) -> WeatherConfig:
    """Return the sizes that tensors of these names and shapes ask for.

    ``patch`` leaves no trace in them: where not given it is taken from the published habit of attending at 16×16 first.
    Raises KeyError for a tensor that is needed and missing, ValueError for an impossible number of levels.
    """
    levels = 1 + max((int(m[1]) for key in shapes if (m := re.match(r"down\.(\d+)\.", key))), default=-1)
    if not 1 <= levels <= len(shapes):
        raise ValueError(f"{levels} down levels in {len(shapes)} tensors")
    attention = tuple(f"down.{level}.attn.0.q.weight" in shapes for level in range(levels))
    if patch is None:
        patch = 16 << (attention.index(True) if True in attention else levels - 1)
    return WeatherConfig(
        first=shapes["conv_in.weight"][0],
        widths=tuple(shapes[f"down.{level}.block.0.conv1.weight"][0] for level in range(levels)),
        blocks=len({m[1] for key in shapes if (m := re.match(r"down\.0\.block\.(\d+)\.", key))}),
        attention=attention,
        time=shapes["temb.dense.0.weight"][0],
        patch=patch,
    )


def _sinusoid(timestep: Tensor, width: int) -> Tensor:
    """Return the sinusoidal embedding [B, width] of timesteps [B], sine first, the last frequency 1e-4 (Ho et al. 2020)."""
    half = width // 2
    frequency = torch.exp(-math.log(10000) / (half - 1) * torch.arange(half, device=timestep.device))
    phase = timestep.float()[:, None] * frequency
    return torch.cat((phase.sin(), phase.cos()), 1)


def _swish(x: Tensor) -> Tensor:
    return F.silu(x, inplace=not torch.is_grad_enabled())


class _ResBlock(nn.Module):
    def __init__(self, channels: int, out: int, time: int, operations: Any):
        super().__init__()
        self.norm1 = operations.GroupNorm(GROUPS, channels, eps=1e-6)
        self.conv1 = operations.Conv2d(channels, out, 3, padding=1)
        self.temb_proj = operations.Linear(time, out)
        self.norm2 = operations.GroupNorm(GROUPS, out, eps=1e-6)
        self.conv2 = operations.Conv2d(out, out, 3, padding=1)
        if channels != out:
            self.nin_shortcut = operations.Conv2d(channels, out, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Return [B, out, h, w] for [B, C, h, w] and the activated time embedding [1 or B, T]."""
        y = conv3x3(self.conv1, _swish(self.norm1(x)))
        y = y + self.temb_proj(time)[:, :, None, None]
        y = conv3x3(self.conv2, _swish(self.norm2(y)))
        return y + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class _Attention(nn.Module):
    def __init__(self, channels: int, operations: Any):
        super().__init__()
        self.norm = operations.GroupNorm(GROUPS, channels, eps=1e-6)
        self.q, self.k, self.v, self.proj_out = (operations.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        query, key, value = (conv(y).flatten(2).transpose(1, 2) for conv in (self.q, self.k, self.v))
        seen = F.scaled_dot_product_attention(query, key, value)
        return x + self.proj_out(seen.transpose(1, 2).reshape(x.shape))


class _Down(nn.Module):
    def __init__(self, channels: int, operations: Any):
        super().__init__()
        self.conv = operations.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class _Up(nn.Module):
    def __init__(self, channels: int, operations: Any):
        super().__init__()
        self.conv = operations.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return conv3x3(self.conv, F.interpolate(x, scale_factor=2, mode="nearest"))


def _level(inputs: list[int], out: int, attends: bool, time: int, operations: Any) -> nn.Module:
    """Return the residual blocks with these numbers of input channels, each followed by attention if the level attends."""
    level = nn.Module()
    level.block = nn.ModuleList(_ResBlock(channels, out, time, operations) for channels in inputs)
    level.attn = nn.ModuleList(_Attention(out, operations) for _ in inputs if attends)
    return level


class WeatherNet(nn.Module):
    """This network finds the noise [B, 3, p, p] in patches [B, 6, p, p]: the damaged picture and the noisy state, both in about
    [−1, 1].

    ``timestep``: [1] for all patches or [B], 0..999. p is a multiple of 2^(levels − 1).
    """

    def __init__(self, config: WeatherConfig = WeatherConfig(), operations: Any = nn):
        super().__init__()
        self.config = config
        widths, time, last = config.widths, config.time, len(config.widths) - 1
        odd = [width for width in (config.first, *widths) if width % GROUPS]
        if odd or len(config.attention) != len(widths) or config.blocks < 1:
            raise ValueError(f"config: {config}; widths must be multiples of {GROUPS}, with blocks on every level")
        self.temb = nn.Module()
        self.temb.dense = nn.ModuleList((operations.Linear(config.first, time), operations.Linear(time, time)))
        self.conv_in = operations.Conv2d(6, config.first, 3, padding=1)
        channels, skips = config.first, [config.first]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for index, (out, attends) in enumerate(zip(widths, config.attention, strict=True)):
            level = _level([channels] + [out] * (config.blocks - 1), out, attends, time, operations)
            skips += [out] * config.blocks
            if index < last:
                level.downsample = _Down(out, operations)
                skips.append(out)
            self.down.append(level)
            channels = out
        self.mid = nn.Module()
        self.mid.block_1 = _ResBlock(channels, channels, time, operations)
        self.mid.attn_1 = _Attention(channels, operations)
        self.mid.block_2 = _ResBlock(channels, channels, time, operations)
        for index, (out, attends) in reversed(list(enumerate(zip(widths, config.attention, strict=True)))):
            inputs = [(channels if i == 0 else out) + skips.pop() for i in range(config.blocks + 1)]
            level = _level(inputs, out, attends, time, operations)
            if index > 0:
                level.upsample = _Up(out, operations)
            self.up.insert(0, level)
            channels = out
        self.norm_out = operations.GroupNorm(GROUPS, channels, eps=1e-6)
        self.conv_out = operations.Conv2d(channels, 3, 3, padding=1)

    def forward(self, patches: Tensor, timestep: Tensor) -> Tensor:
        time = _sinusoid(timestep, self.config.first).to(patches.dtype)
        first, second = cast(Any, self.temb).dense
        time = F.silu(second(F.silu(first(time))))
        x = self.conv_in(patches.contiguous(memory_format=torch.channels_last))
        skips = [x]
        downs, middle, ups = cast(Any, (self.down, self.mid, self.up))

        def through(level: Any, index: int, x: Tensor) -> Tensor:
            x = level.block[index](x, time)
            return level.attn[index](x) if len(level.attn) else x

        for level in downs:
            for index in range(len(level.block)):
                x = through(level, index, x)
                skips.append(x)
            if hasattr(level, "downsample"):
                x = level.downsample(x)
                skips.append(x)
        x = middle.block_2(middle.attn_1(middle.block_1(x, time)), time)
        for level in reversed(ups):
            for index in range(len(level.block)):
                x = through(level, index, torch.cat((x, skips.pop()), 1))
            if hasattr(level, "upsample"):
                x = level.upsample(x)
        return self.conv_out(_swish(self.norm_out(x)))


def _build(shapes: Shapes, stated: Stated, operations: Any) -> WeatherNet:
    return WeatherNet(read_config(shapes, stated.patch), operations)


def _memory(network: WeatherNet, sizes: Sizes, height: int, width: int) -> float:
    size = next(network.parameters()).element_size()
    return 16 * network.config.first * size * sizes.patch_batch * network.config.patch**2


FAMILY = Family(
    name="weatherdiffusion",
    title="WeatherDiffusion",
    network=WeatherNet,
    signature=(
        "conv_in.weight",
        "conv_out.weight",
        "temb.dense.0.weight",
        "down.0.block.0.conv1.weight",
        "mid.attn_1.q.weight",
        "norm_out.weight",
    ),
    tiling="patches",
    memory=_memory,
    told=lambda run, picture, prompt: Told(picture),
    space="image",
    steps=25,
    schedule="official",
    build=_build,
)
