"""This module holds bodies of the denoiser that an ablation compares with the shipped one, with its inputs, output, prompts and
cost."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from adaqual_core.grid import CELL
from adaqual_core.kinds import KINDS
from adaqual_core.networks.embedding import sinusoid
from adaqual_core.networks.prompt_attention import Guidance, PromptAttention
from adaqual_core.networks.restorer import Denoiser, ResidualBlock, RestorerConfig, seen_by_denoiser


class GatedBlock(nn.Module):
    """This block computes x + W2·(a·b) with (a, b) = W1·((1 + scale)·norm(x) + shift), where W1 is a 3×3 convolution. It is
    NAFNet's gate without its depthwise part.
    """

    def __init__(self, channels: int, condition: int, wide: bool, operations):
        super().__init__()
        self.norm = operations.LayerNorm(channels, elementwise_affine=False)
        self.modulation = operations.Linear(condition, 2 * channels)
        self.conv1 = operations.Conv2d(channels, 2 * channels, 3, padding=1)
        self.conv2 = operations.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulation(condition)[:, :, None, None].chunk(2, 1)
        normed = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        a, b = self.conv1(normed * (1 + scale) + shift).chunk(2, 1)
        return x + self.conv2(a * b)


class CoarseBody(nn.Module):
    """This network is a U-Net whose finest level is at 4×4 px and whose blocks are all of one class, on three levels.

    ``widths``: channels at 1/4, 1/8 and 1/16. ``counts``: number of blocks at 1/4 (before and after), 1/8 (before and after) and
    1/16.
    """

    def __init__(
        self, config: RestorerConfig, block: type[nn.Module], widths: tuple[int, int, int], counts: tuple[int, int, int]
    ):
        super().__init__()
        self.config, condition = config, config.condition_width
        w1, w2, w3 = widths

        def blocks(count: int, width: int) -> nn.ModuleList:
            return nn.ModuleList(block(width, condition, False, nn) for _ in range(count))

        self.time1, self.time2 = nn.Linear(64, condition), nn.Linear(condition, condition)
        self.intro = nn.Conv2d(16 * 18 + len(KINDS) + 1, w1, 3, padding=1)
        self.before1, self.before2 = blocks(counts[0], w1), blocks(counts[1], w2)
        self.down1, self.down2 = nn.Conv2d(w1, w2, 2, 2), nn.Conv2d(w2, w3, 2, 2)
        self.damage = nn.Conv2d(len(KINDS) + 1, w3, 1)
        self.attention1 = PromptAttention(w3, condition, config.heads)
        self.middle = blocks(counts[2], w3)
        self.attention2 = PromptAttention(w3, condition, config.heads)
        self.up2, self.up1 = nn.Conv2d(w3, 4 * w2, 1), nn.Conv2d(w2, 4 * w1, 1)
        self.after2, self.after1 = blocks(counts[1], w2), blocks(counts[0], w1)
        self.ending = nn.Conv2d(w1, 48, 3, padding=1)

    @property
    def receptive_radius(self) -> int:
        """Return the distance in px beyond which nothing influences a pixel, rounded up to whole cells (an upper bound)."""
        convolutions = 2 * len(self.before1) * 4 * 2 + 2 * len(self.before2) * 8 * 2 + len(self.middle) * CELL * 2 + 12
        return CELL * (-(-convolutions // CELL) + 1)

    precondition = Denoiser.precondition

    def forward(
        self,
        picture: Tensor,
        toned: Tensor,
        noisy: Tensor,
        timestep: Tensor,
        alpha_cumprod: Tensor,
        damage: Tensor,
        about: Tensor,
        tokens: Tensor,
        bias: Tensor,
    ) -> Tensor:
        guidance = Guidance(tokens, bias)
        condition = F.silu(about + self.time2(F.silu(self.time1(sinusoid(timestep, 64).to(about.dtype)))))
        noisy = self.precondition(noisy, alpha_cumprod)
        seen = seen_by_denoiser(picture, toned, noisy)
        spread = F.interpolate(damage, scale_factor=CELL // 4, mode="bilinear", align_corners=False)
        x1 = self.intro(torch.cat((F.pixel_unshuffle(seen, 4), spread), 1).contiguous(memory_format=torch.channels_last))
        for block in self.before1:
            x1 = block(x1, condition)
        x2 = self.down1(x1)
        for block in self.before2:
            x2 = block(x2, condition)
        x = self.attention1(self.down2(x2) + self.damage(damage), guidance)
        for block in self.middle:
            x = block(x, condition)
        x = F.pixel_shuffle(self.up2(self.attention2(x, guidance)), 2) + x2
        for block in self.after2:
            x = block(x, condition)
        x = F.pixel_shuffle(self.up1(x), 2) + x1
        for block in self.after1:
            x = block(x, condition)
        return F.pixel_shuffle(self.ending(x), 4)


def gated(config: RestorerConfig) -> nn.Module:
    """Return a body of gated blocks at 4×4 px."""
    return CoarseBody(config, GatedBlock, (96, 128, 192), (3, 2, 2))


def coarse(config: RestorerConfig) -> nn.Module:
    """Return a body of plain residual blocks at 4×4 px."""
    return CoarseBody(config, ResidualBlock, (96, 128, 192), (3, 2, 2))
