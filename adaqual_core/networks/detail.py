"""This module removes grain, streaks and blocks that remain after the sampler, beside the picture as it came (our definition).

The denoiser works on 4×4 px at once; this network works on 2×2 px and is told what it changed, detail apart from what is even
over 5×5 px and eight times as strong: grain as faint as it comes would pass every layer as through a linear one, and only be
smoothed (measured). Its receptive field is finite.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


class _Block(nn.Module):
    """This block computes x + W2·ReLU(W1·x) with 3×3 convolutions W1 and W2."""

    def __init__(self, width: int, operations):
        super().__init__()
        self.conv1 = operations.Conv2d(width, width, 3, padding=1)
        self.conv2 = operations.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


class Detail(nn.Module):
    """This network maps picture and restored picture, [B, 3, H, W] in [0, 1] each, to what is added to the restored one; H and W
    multiples of 4.

    ``widths``: channels at 1/2 and 1/4; ``blocks``: before, at and after 1/4.
    """

    def __init__(self, widths: tuple[int, int], blocks: tuple[int, int, int], operations=nn):
        super().__init__()
        fine, coarse = widths

        def chain(count: int, width: int) -> nn.Sequential:
            return nn.Sequential(*(_Block(width, operations) for _ in range(count)))

        self.blocks = blocks
        self.intro = operations.Conv2d(48, fine, 3, padding=1)
        self.before = chain(blocks[0], fine)
        self.down = operations.Conv2d(fine, coarse, 2, 2)
        self.middle = chain(blocks[1], coarse)
        self.up = operations.Conv2d(coarse, 4 * fine, 1)
        self.after = chain(blocks[2], fine)
        self.ending = operations.Conv2d(fine, 12, 3, padding=1)

    @property
    def receptive_radius(self) -> int:
        """Return the number of px around a pixel that can influence it."""
        before, middle, after = self.blocks
        return 2 + 2 * (2 * before + 2 * after + 2) + 4 * 2 * middle + 4

    def forward(self, picture: Tensor, restored: Tensor) -> Tensor:
        both = torch.cat((restored * 2 - 1, picture - restored), 1)
        even = F.avg_pool2d(both, 5, 1, 2, count_include_pad=False)
        x = F.pixel_unshuffle(torch.cat((even, 8 * (both - even)), 1), 2)
        x = self.before(self.intro(x.contiguous(memory_format=torch.channels_last)))
        x = x + F.pixel_shuffle(self.up(self.middle(self.down(x))), 2)
        return F.pixel_shuffle(self.ending(self.after(x)), 2)
