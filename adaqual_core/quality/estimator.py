"""This module is the embedded assessor: overall quality and the severity of each kind of damage (our definition).

A small convolutional network without a reference picture gives nine numbers for each cell of 16×16 px. It learns the overall
quality from :mod:`adaqual_core.quality.reference`, and the severity of each kind from the generator that made the damage.

It has two parts. The first computes features of cells within a finite receptive field, and may therefore do so tile by tile. The
second judges the cells of the whole picture together, because noise, JPEG and blur are mostly the same everywhere: evidence from
textured cells decides about smooth ones. Therefore a map made in tiles equals the map of the whole picture.
"""

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..grid import CELL, cell_count, quality_of
from ..image_statistics import LEVELS_AND_DETAIL, levels_and_detail
from ..kinds import KINDS


@dataclass(frozen=True)
class EstimatorConfig:
    """This class holds the sizes of the estimator.

    ``widths``: channels at 1/2, 1/4, 1/8 and 1/16 of the picture. ``blocks``: number of blocks at 1/2, 1/4 and 1/8.
    ``dilations``: dilation of each of the judging blocks at 1/16. ``picture_width``: hidden size of the layers that read the
    whole picture's statistics.
    """

    widths: tuple[int, int, int, int] = (32, 64, 96, 160)
    blocks: tuple[int, int, int] = (1, 2, 2)
    dilations: tuple[int, ...] = (1, 2, 4, 8, 1)
    picture_width: int = 96


class _Block(nn.Module):
    """This block computes x + W2·ReLU(W1·x) with a 3×3 convolution W1 to twice the width and a 1×1 convolution W2."""

    def __init__(self, width: int, operations):
        super().__init__()
        self.conv1 = operations.Conv2d(width, 2 * width, 3, padding=1)
        self.conv2 = operations.Conv2d(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


class _JudgingBlock(nn.Module):
    """This block computes x + W2·GELU(W1·D·norm(x) + V·whole) with a dilated depthwise 3×3 convolution D, 1×1 convolutions W1 and
    W2, and a linear layer V. ``whole`` describes the whole picture: mean and standard deviation of norm(x) over all cells.
    """

    def __init__(self, width: int, dilation: int, operations):
        super().__init__()
        self.norm = operations.LayerNorm(width)
        self.depthwise = operations.Conv2d(width, width, 3, padding=dilation, dilation=dilation, groups=width)
        self.conv1 = operations.Conv2d(width, 2 * width, 1)
        self.conv2 = operations.Conv2d(2 * width, width, 1)
        self.whole = operations.Linear(2 * width, 2 * width)
        nn.init.zeros_(self.whole.weight)
        nn.init.zeros_(self.whole.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        variance, mean = torch.var_mean(y.float().flatten(2), 2, unbiased=False)
        whole = self.whole(torch.cat((mean, (variance + 1e-6).sqrt()), 1).to(x.dtype))
        return x + self.conv2(F.gelu(self.conv1(self.depthwise(y)) + whole[:, :, None, None]))


def _high_pass(x: Tensor) -> Tensor:
    return x - F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


CELL_STATISTICS = 20


def cell_statistics(picture: Tensor) -> Tensor:
    """Return the quantities that classical no-reference measures read, for each cell, of order 1.

    Pictures [B, 3, H, W] give [B, CELL_STATISTICS, H/16, W/16]. For each colour: logarithms of the energy of two high-pass bands
    and of the peak of the finer band, mean, minimum and maximum. For the mean of the colours: how much stronger the steps at the
    borders of 8×8 blocks are than their neighbours, in both directions (JPEG).
    """
    fine = _high_pass(picture).abs()
    coarse = _high_pass(F.avg_pool2d(picture, 2)).abs()
    extremes = [F.avg_pool2d(picture, CELL), -F.max_pool2d(-picture, CELL), F.max_pool2d(picture, CELL)]
    bands = [F.avg_pool2d(fine, CELL), F.avg_pool2d(coarse, CELL // 2), F.max_pool2d(fine, CELL)]
    batch, _, height, width = picture.shape
    grid = picture.mean(1).reshape(batch, height // CELL, CELL, width // CELL, CELL)
    across = (grid[..., 1:] - grid[..., :-1]).abs().mean(2) + 1e-3
    along = (grid[:, :, 1:] - grid[:, :, :-1]).abs().mean(4).transpose(2, 3) + 1e-3
    steps = [torch.log(s[..., 7] / ((s[..., 6] + s[..., 8]) / 2))[:, None] for s in (across, along)]
    logs = [torch.log(band + 1e-3) * 0.5 + 2 for band in bands]
    return torch.cat(logs + [4 * e - 2 for e in extremes] + steps, 1)


class QualityEstimator(nn.Module):
    """This network gives nine logits for each cell of pictures whose sides are multiples of 16 px.

    The first logit is overall severity, the other eight are severities by kind in the order of :data:`adaqual_core.kinds.KINDS`.
    """

    file_kind = "estimator"

    def __init__(self, config: EstimatorConfig = EstimatorConfig(), operations=nn):
        super().__init__()
        self.config = config
        w1, w2, w3, w4 = config.widths

        def chain(count: int, width: int) -> nn.Sequential:
            return nn.Sequential(*(_Block(width, operations) for _ in range(count)))

        self.stem = operations.Conv2d(24, w1, 3, padding=1)
        self.blocks1 = chain(config.blocks[0], w1)
        self.down1 = operations.Conv2d(w1, w2, 2, 2)
        self.blocks2 = chain(config.blocks[1], w2)
        self.down2 = operations.Conv2d(w2, w3, 2, 2)
        self.blocks3 = chain(config.blocks[2], w3)
        self.down3 = operations.Conv2d(2 * w3, w4, 2, 2)
        self.statistics = operations.Conv2d(CELL_STATISTICS, w4, 1)
        self.picture1 = operations.Linear(LEVELS_AND_DETAIL, config.picture_width)
        self.picture2 = operations.Linear(config.picture_width, w4)
        self.blocks4 = nn.ModuleList(_JudgingBlock(w4, dilation, operations) for dilation in config.dilations)
        self.norm = operations.LayerNorm(w4)
        self.head = operations.Conv2d(w4, 1 + len(KINDS), 1)

    @property
    def receptive_radius(self) -> int:
        """Return the distance in px beyond which nothing influences the features of a cell, rounded up to whole cells."""
        pools, stem, spread = 2, 2, 8
        return CELL * cell_count(pools + stem + spread + sum(2 ** (level + 1) * n for level, n in enumerate(self.config.blocks)))

    def features(self, picture: Tensor) -> Tensor:
        """Return features [B, widths[3], H/16, W/16] of the cells of pictures [B, 3, H, W] in [0, 1], or of parts of them."""
        detail = 8 * (picture - F.avg_pool2d(picture, 5, 1, 2, count_include_pad=False))
        x = F.pixel_unshuffle(torch.cat((picture * 2 - 1, detail), 1), 2).contiguous(memory_format=torch.channels_last)
        x = self.down1(self.blocks1(self.stem(x)))
        x = self.down2(self.blocks2(x))
        x = self.blocks3(x)
        spread = (x - F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)).abs()
        return self.down3(torch.cat((x, spread), 1)) + self.statistics(cell_statistics(picture.float()).to(x.dtype))

    def judge(self, features: Tensor, statistics: Tensor) -> Tensor:
        """Return logits [B, 9, h, w] in float32 from the features of all cells of whole pictures, and the pictures'
        :func:`levels_and_detail` [B, LEVELS_AND_DETAIL]."""
        x = features + self.picture2(F.gelu(self.picture1(statistics * 4 - 2)))[:, :, None, None]
        for block in self.blocks4:
            x = block(x)
        x = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.head(x).float()

    def forward(self, picture: Tensor, statistics: Tensor | None = None) -> Tensor:
        """Return logits [B, 9, H/16, W/16] in float32 for whole pictures [B, 3, H, W] in [0, 1].

        ``statistics`` [B, LEVELS_AND_DETAIL] are their :func:`levels_and_detail`, which are computed if they are not given.
        """
        if statistics is None:
            statistics = levels_and_detail(picture.detach().float()).to(picture.dtype)
        return self.judge(self.features(picture), statistics)

    def severities(self, picture: Tensor, statistics: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return scores [B, 1, h, w] in [1, 5] and severities by kind [B, 8, h, w] in [0, 1]; arguments as for
        :meth:`forward`."""
        return self.scores_and_kinds(self(picture, statistics))

    @staticmethod
    def scores_and_kinds(logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores [B, 1, h, w] in [1, 5] and severities by kind [B, 8, h, w] in [0, 1] of logits [B, 9, h, w]."""
        found = torch.sigmoid(logits)
        return quality_of(found[:, :1]), found[:, 1:]
