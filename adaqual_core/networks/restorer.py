"""This module is AdaQual's own restorer: a bilateral grid for the whole picture's tone, then a denoiser (our definition).

The grid undoes what changes slowly over the picture: y0 = y + slice(G, y). The denoiser predicts the residual r = x − y0 that
remains, x being the clean picture, with one output. It is a U-Net of plain 3×3 residual blocks, the finest level at 2×2 px. Each
block is modulated by a condition vector, and the coarse levels attend to prompts that are keyed by the kind of damage. No
operation of the denoiser pools over the picture, so tiles with enough context equal the whole.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..grid import CELL, cell_count
from ..image_statistics import STATISTICS
from ..kinds import KINDS
from ..prompt import MAX_LENGTH, Prompt
from ..quality.map import resampled, worst_of_cells
from ..weight_files import build, read
from .bilateral_grid import BilateralGrid, view_of
from .embedding import sinusoid
from .family import Family, Sizes, Told
from .kind_prompts import KindPrompts
from .prompt_attention import Guidance, PromptAttention
from .runner import Runner
from .tone import Tone, edge_aware, grid_gate
from .winograd import conv3x3


@dataclass(frozen=True)
class RestorerConfig:
    """This class holds the sizes of the restorer.

    ``widths``: channels at 1/2, 1/4, 1/8 and 1/16 of the picture. ``encoder`` and ``decoder``: number of blocks at 1/2, 1/4 and
    1/8. ``middle``: number of blocks at 1/16. ``condition_width``: size of the condition vector and of a prompt token.
    ``noise_scale``: standard deviation of the noise that the residual is mixed with; residuals are small beside unit noise.
    ``grid_widths``, ``grid_blocks``, ``grid_levels``: sizes of the bilateral grid's network.
    """

    widths: tuple[int, int, int, int] = (48, 80, 128, 192)
    encoder: tuple[int, int, int] = (2, 2, 2)
    middle: int = 2
    decoder: tuple[int, int, int] = (3, 2, 2)
    condition_width: int = 96
    global_tokens: int = 8
    heads: int = 4
    noise_scale: float = 0.1
    grid_widths: tuple[int, int, int] = (32, 64, 96)
    grid_blocks: int = 2
    grid_levels: int = 8


PRESETS = {
    "nano": RestorerConfig(),
    "base": RestorerConfig(
        widths=(64, 112, 192, 288),
        encoder=(3, 3, 4),
        middle=4,
        decoder=(4, 4, 4),
        condition_width=160,
        heads=8,
        grid_widths=(48, 96, 128),
    ),
}


class ResidualBlock(nn.Module):
    """This block computes x + W2·ReLU((1 + scale)·W1·x + shift), where scale and shift come from the condition vector.

    At fine levels W1 and W2 are 3×3 convolutions of equal width. At coarse levels (``wide``) W1 is a 3×3 convolution to twice the
    width and W2 is a 1×1 convolution: as many parameters, half the receptive field.
    """

    def __init__(self, channels: int, condition: int, wide: bool, operations: Any):
        super().__init__()
        self.wide = wide
        hidden = 2 * channels if wide else channels
        self.conv1 = operations.Conv2d(channels, hidden, 3, padding=1)
        self.modulation = operations.Linear(condition, 2 * hidden)
        kernel = 1 if wide else 3
        self.conv2 = operations.Conv2d(hidden, channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulation(condition)[:, :, None, None].chunk(2, 1)
        hidden = F.relu(torch.addcmul(shift, conv3x3(self.conv1, x), 1 + scale))
        return x + (self.conv2(hidden) if self.wide else conv3x3(self.conv2, hidden))


def detail(picture: Tensor) -> Tensor:
    """Return the difference from the 5×5 mean, times 8. Unscaled, faint grain stays in the linear range of every layer
    (measured).
    """
    return 8 * (picture - F.avg_pool2d(picture, 5, 1, 2, count_include_pad=False))


def seen_by_denoiser(picture: Tensor, toned: Tensor, noisy: Tensor) -> Tensor:
    """Return what the denoiser sees of each pixel, [B, 18, H, W] of order 1.

    ``picture`` and ``toned`` [B, 3, H, W] in [0, 1] are the damaged picture before and after the grid, and ``noisy`` [B, 3, H, W]
    is the preconditioned state of the sampler.
    """
    return torch.cat((picture * 2 - 1, toned * 2 - 1, noisy * 4, detail(picture), detail(toned), 8 * (toned - picture)), 1)


class Conditioner(nn.Module):
    """This module makes what the denoiser is told once per picture: a vector about the whole picture, and the prompts of all
    cells.
    """

    def __init__(self, config: RestorerConfig, operations: Any = nn):
        super().__init__()
        width = config.condition_width
        self.picture1 = operations.Linear(STATISTICS + len(KINDS), width)
        self.picture2 = operations.Linear(width, width)
        self.prompt = KindPrompts(width, config.global_tokens, int(MAX_LENGTH), operations)

    def forward(
        self, statistics: Tensor, mean_kinds: Tensor, severity: Tensor, kinds: Tensor, length: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the vector [B, E], the prompts' tokens [B, n, E] and their bias per cell [B, n, h, w].

        ``statistics`` [B, STATISTICS] and ``mean_kinds`` [B, 8] are of the whole pictures; ``severity`` and ``length`` [B, 1,
        h, w] and ``kinds`` [B, 8, h, w] are of the cells that get prompts, all or a part of the pictures'.
        """
        known = torch.cat((statistics * 4 - 2, 4 * mean_kinds), 1)
        about = self.picture2(F.silu(self.picture1(known)))
        guidance = self.prompt(severity, kinds, length, about)
        return about, guidance.tokens, guidance.bias


class Denoiser(nn.Module):
    """This network predicts the residual [B, 3, H, W] of pictures whose tone the grid has set; H and W are multiples of 16 px."""

    def __init__(self, config: RestorerConfig, operations: Any = nn):
        super().__init__()
        self.config = config
        condition = config.condition_width
        fine, coarse = config.widths[:-1], config.widths[1:]
        self.time1 = operations.Linear(64, condition)
        self.time2 = operations.Linear(condition, condition)
        self.intro = operations.Conv2d(4 * 18 + len(KINDS) + 1, fine[0], 3, padding=1)

        def blocks(count: int, level: int) -> nn.ModuleList:
            width, wide = config.widths[level], level > 1
            return nn.ModuleList(ResidualBlock(width, condition, wide, operations) for _ in range(count))

        self.encoder = nn.ModuleList(blocks(count, level) for level, count in enumerate(config.encoder))
        self.down = nn.ModuleList(operations.Conv2d(a, b, 2, 2) for a, b in zip(fine, coarse, strict=True))
        self.damage = nn.ModuleList(operations.Conv2d(len(KINDS) + 1, width, 1) for width in config.widths[2:])
        self.attention1 = PromptAttention(config.widths[3], condition, config.heads, operations)
        self.middle = blocks(config.middle, 3)
        self.attention2 = PromptAttention(config.widths[3], condition, config.heads, operations)
        self.up = nn.ModuleList(operations.Conv2d(b, 4 * a, 1) for a, b in zip(fine, coarse, strict=True))
        self.decoder = nn.ModuleList(blocks(count, level) for level, count in enumerate(config.decoder))
        self.ending = operations.Conv2d(fine[0], 12, 3, padding=1)

    @property
    def receptive_radius(self) -> int:
        """Return the distance in px beyond which nothing influences a pixel, rounded up to whole cells."""
        config = self.config
        radius = 2 + 2 * 2
        for level, (encoder, decoder) in enumerate(zip(config.encoder, config.decoder, strict=True)):
            radius += 2 ** (level + 1) * (encoder + decoder) * (1 if level > 1 else 2)
        radius += CELL * config.middle
        return CELL * math.ceil((radius + CELL - 1) / CELL)

    def precondition(self, noisy: Tensor, alpha_cumprod: Tensor) -> Tensor:
        """Return the linear estimate of the residual (standard deviation about 0.2) from its noisy state; it is 0 where all is
        noise.
        """
        a = alpha_cumprod.float().view(-1, 1, 1, 1)
        power = 0.2**2
        gain = a.sqrt() * power / (a * power + (1 - a) * self.config.noise_scale**2)
        return noisy * gain.to(noisy.dtype)

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
        """Return the residual of ``toned``, [B, 3, H, W] in about [−1, 1].

        ``picture`` and ``toned`` [B, 3, H, W] in [0, 1]: the damaged picture before and after the grid; ``noisy`` [B, 3, H, W]:
        the state of the sampler; ``timestep`` [B] in 0..999; ``alpha_cumprod`` [B]; ``damage`` [B, 9, H/16, W/16]: overall
        severity and severity by kind; ``about``, ``tokens`` and ``bias``: what :class:`Conditioner` gives for these cells.
        """
        guidance = Guidance(tokens, bias)
        condition = about + self.time2(F.silu(self.time1(sinusoid(timestep, 64).to(about.dtype))))
        condition = F.silu(condition)
        noisy = self.precondition(noisy, alpha_cumprod)
        seen = seen_by_denoiser(picture, toned, noisy)
        spread = F.interpolate(damage, scale_factor=CELL // 2, mode="bilinear", align_corners=False)
        seen = torch.cat((F.pixel_unshuffle(seen, 2), spread), 1).contiguous(memory_format=torch.channels_last)
        x, skips = self.intro(seen), []
        for level, (blocks, down) in enumerate(zip(self.encoder, self.down, strict=True)):
            if level == 2:
                x = x + F.interpolate(self.damage[0](damage), scale_factor=2, mode="bilinear", align_corners=False)
            x = _through(blocks, x, condition)
            skips.append(x)
            x = down(x)
        x = self.attention1(x + self.damage[1](damage), guidance)
        x = _through(self.middle, x, condition)
        x = self.attention2(x, guidance)
        for level in (2, 1, 0):
            x = F.pixel_shuffle(self.up[level](x), 2) + skips[level]
            x = _through(self.decoder[level], x, condition)
        return F.pixel_shuffle(self.ending(x), 2)


class Restorer(nn.Module):
    """This network holds the bilateral grid, the conditioner and the denoiser of one model file."""

    file_kind = "restorer"
    parts = ("grid", "conditioner", "denoiser")

    def __init__(self, config: RestorerConfig = PRESETS["nano"], operations: Any = nn):
        super().__init__()
        self.config = config
        self.grid = BilateralGrid(config.grid_widths, config.grid_blocks, config.grid_levels, operations)
        self.conditioner = Conditioner(config, operations)
        self.denoiser = Denoiser(config, operations)

    @property
    def receptive_radius(self) -> int:
        """Return the distance in px beyond which nothing of a window influences a pixel, rounded up to whole cells."""
        return self.denoiser.receptive_radius


def _through(blocks: Any, x: Tensor, condition: Tensor) -> Tensor:
    """Return ``x`` after all blocks of a level."""
    for block in blocks:
        x = block(x, condition)
    return x


def initialise(model: Restorer, seed: int) -> None:
    """Set the start of training from a seed: small residual branches and an output of zero, so that the untrained model changes
    nothing."""
    torch.manual_seed(seed)
    for module in model.grid.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.GroupNorm)):
            module.reset_parameters()
    for module in (*model.conditioner.modules(), *model.denoiser.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            nn.init.zeros_(cast(Tensor, module.bias))
    for module in model.denoiser.modules():
        if isinstance(module, ResidualBlock):
            nn.init.kaiming_normal_(module.conv1.weight, nonlinearity="relu")
            nn.init.normal_(module.conv2.weight, std=0.3 / math.sqrt(module.conv2.weight[0].numel()))
            nn.init.normal_(module.modulation.weight, std=0.01)
    prompts = model.conditioner.prompt
    for tokens in (prompts.global_prompt, prompts.pool, prompts.keys):
        nn.init.normal_(tokens, std=0.5)
    for head in (model.denoiser.ending, model.grid.head):
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)


def load(path: Path, operations: Any = nn) -> Restorer:
    """Return the restorer stored in ``path``, float32 on the CPU, in evaluation mode; raises :class:`CheckpointError`."""
    return build(path, *read(path, Restorer.file_kind), Restorer, RestorerConfig, operations)


def tone_of(run: Runner, picture: Tensor, prompt: Prompt) -> Tone:
    """Return the tone of one whole picture [3, H, W] in [0, 1], as the grid finds it for the prompt of that picture."""
    kinds = cast(Tensor, prompt.kinds)
    view = view_of(picture[None], prompt.severity, kinds) if prompt.view is None else prompt.view
    grid = run({"view": view}, "the view of the whole picture", "grid") * grid_gate(kinds)
    drawn = prompt.quality.drawn
    if drawn is not None:  # with the cells beside them, into which the cells of a painted map may reach
        drawn = F.max_pool2d(worst_of_cells(resampled(drawn, *picture.shape[-2:])), 3, 1, 1)
    return Tone(grid, edge_aware(picture[None], prompt.restore_mask, drawn))


def told(run: Runner, picture: Tensor, prompt: Prompt, tone: Tone | None = None) -> Told:
    """Return what the denoiser is told of one picture [3, H, W] in [0, 1]. ``tone`` replaces that of :func:`tone_of`."""
    tone, kinds = tone or tone_of(run, picture, prompt), cast(Tensor, prompt.kinds)
    toned = tone.applied(picture, prompt)
    known = {
        "statistics": prompt.statistics,
        "mean_kinds": kinds.mean((2, 3)),
        "severity": prompt.severity,
        "kinds": kinds,
        "length": prompt.length,
    }
    about, tokens, bias = run(known, "the whole picture's prompts", "conditioner")
    damage = torch.cat((prompt.severity, kinds), 1)
    pictures = {"picture": picture, "toned": toned}
    return Told(toned, pictures, {"damage": damage, "bias": bias}, {"about": about, "tokens": tokens})


_CELL_BYTES = 3200
"""Memory of the conditioner, which works through the whole picture, for each cell: 290 MiB at 24 megapixels (measured)."""


def _memory(network: Restorer, sizes: Sizes, height: int, width: int) -> float:
    size, side = next(network.parameters()).element_size(), sizes.tile + 2 * max(sizes.overlap, network.receptive_radius)
    windows = 3 * (81 + 4 * network.config.widths[0]) / 4 * size * sizes.tile_batch * side**2
    return windows + _CELL_BYTES * cell_count(height) * cell_count(width)


FAMILY = Family(
    name=Restorer.file_kind,
    title="AdaQual restorer, our presets",
    network=Restorer,
    signature=("grid.stem.weight", "conditioner.picture1.weight", "denoiser.intro.weight"),
    tiling="windows",
    memory=_memory,
    told=told,
    part="denoiser",
    needs_kinds=True,
    load=load,
)
