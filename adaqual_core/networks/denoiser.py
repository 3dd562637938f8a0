"""This module is the first generation's residual denoiser: gated convolutions on unshuffled pixels with a finite receptive field.

It predicts the residual r = clean − picture from the picture, the noisy residual and the prompt (paper section 3.3 gives
the task; the architecture is our definition). No operation pools over the picture: what is global enters through the
condition vector that is computed once per picture, so that tiles with enough context equal the whole.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..grid import CELL
from ..image_statistics import STATISTICS
from ..prompt import MAX_LENGTH, Prompt
from ..weight_files import build, header_of, read
from .embedding import sinusoid
from .family import Family, Sizes, Told
from .finish import Finish, FinishConfig, load_finish
from .prompt_tokens import Guidance, PromptAttention, PromptTokens
from .runner import Runner
from .tone_curve import KNOTS, ToneCurve, tone_change


@dataclass(frozen=True)
class DenoiserConfig:
    """This class holds the sizes of the denoiser; ``unshuffle``·2^(levels) must be the cell of 16 px.

    ``widths``: channels per level, the last one at 1/16. ``encoder``, ``decoder``: gated 3×3 blocks per level, finest first.
    ``middle``: kernel sizes of the blocks at 1/16. ``noise_scale``: standard deviation of the noise that the residual is
    mixed with; residuals are small beside unit noise, which would drown what the first step found (our definition).
    """

    unshuffle: int = 4
    widths: tuple[int, ...] = (96, 128, 192)
    encoder: tuple[int, ...] = (3, 2)
    middle: tuple[int, ...] = (3, 1)
    decoder: tuple[int, ...] = (3, 2)
    condition_width: int = 96
    tone_width: int = 64
    global_tokens: int = 8
    pools: int = 10
    heads: int = 4
    noise_scale: float = 0.1


PRESETS = {
    "nano": DenoiserConfig(),
    "base": DenoiserConfig(
        unshuffle=2,
        widths=(64, 128, 256, 512),
        encoder=(2, 4, 12),
        middle=(3, 1, 3, 1),
        decoder=(2, 4, 19),
        condition_width=256,
        tone_width=128,
        heads=8,
    ),
}


def _normed(norm: nn.Module, x: Tensor) -> Tensor:
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Modulated(nn.Module):
    """This layer is a channel LayerNorm, then x·(1 + scale) + shift from the condition vector."""

    def __init__(self, channels: int, condition: int, operations: Any):
        super().__init__()
        self.norm = operations.LayerNorm(channels, elementwise_affine=False)
        self.modulation = operations.Linear(condition, 2 * channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulation(condition)[:, :, None, None].chunk(2, 1)
        return _normed(self.norm, x) * (1 + scale) + shift


class GatedBlock(nn.Module):
    """This block computes x + W2·(a·b) with (a, b) = W1·modulated(x), W1 a plain 3×3 convolution: NAFNet's gate without its
    depthwise part.
    """

    def __init__(self, channels: int, condition: int, operations: Any):
        super().__init__()
        self.norm = _Modulated(channels, condition, operations)
        self.conv1 = operations.Conv2d(channels, 2 * channels, 3, padding=1)
        self.conv2 = operations.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        a, b = self.conv1(self.norm(x, condition)).chunk(2, 1)
        return x + self.conv2(a * b)


class MiddleBlock(nn.Module):
    """This block has the same gate with a depthwise kernel (1×1 blocks have none), then a gated pointwise network."""

    def __init__(self, channels: int, kernel: int, condition: int, operations: Any):
        super().__init__()
        self.norm1 = _Modulated(channels, condition, operations)
        self.conv1 = operations.Conv2d(channels, 2 * channels, 1)
        self.depthwise = None
        if kernel > 1:
            self.depthwise = operations.Conv2d(2 * channels, 2 * channels, kernel, padding=kernel // 2, groups=2 * channels)
        self.conv2 = operations.Conv2d(channels, channels, 1)
        self.norm2 = _Modulated(channels, condition, operations)
        self.conv3 = operations.Conv2d(channels, 2 * channels, 1)
        self.conv4 = operations.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        y = self.conv1(self.norm1(x, condition))
        if self.depthwise is not None:
            y = self.depthwise(y)
        a, b = y.chunk(2, 1)
        x = x + self.conv2(a * b)
        a, b = self.conv3(self.norm2(x, condition)).chunk(2, 1)
        return x + self.conv4(a * b)


class Denoiser(nn.Module):
    """This network maps a picture, its noisy residual and the prompt to the residual [B, 3, H, W] in about [−1, 1].

    ``picture`` [B, 3, H, W] in [0, 1], ``noisy`` [B, 3, H, W] (scaled by :meth:`precondition` inside), ``timestep`` [B]
    in 0..999, ``alpha_cumprod`` [B], ``severity`` and ``length`` [B, 1, H/16, W/16], ``statistics`` [B, STATISTICS];
    H and W are multiples of 16. The last layer gives a detail d, a gain g and a share p per pixel, and the residual is
    p·c + d + g·(picture + d), with c the change by the picture's tone curve. Darkness and haze are undone by curve and gain:
    the network need not carry all of the picture's detail for them. p says where the curve is right.

    ``finish``, where a model has one, is what the sampler's result goes through last (:mod:`adaqual_core.networks.finish`);
    networks of their own.
    """

    file_kind = "denoiser"

    def __init__(self, config: DenoiserConfig = PRESETS["nano"], operations: Any = nn):
        super().__init__()
        levels = len(config.encoder)
        if config.unshuffle * 2**levels != CELL or len(config.widths) != levels + 1 or len(config.decoder) != levels:
            raise ValueError(f"config: {config}; unshuffle·2^levels must be {CELL}, with one width more than levels")
        self.config = config
        self.finish: Finish | None = None
        condition = config.condition_width
        pixels = config.unshuffle**2
        first, last = config.widths[0], config.widths[-1]
        self.time1 = operations.Linear(64, condition)
        self.time2 = operations.Linear(condition, condition)
        self.statistics1 = operations.Linear(STATISTICS, condition)
        self.statistics2 = operations.Linear(condition, condition)
        self.tone = ToneCurve(config.tone_width, operations)
        self.toned = operations.Linear(3 * KNOTS, condition)
        self.prompt = PromptTokens(condition, config.global_tokens, config.pools, int(MAX_LENGTH), operations)
        self.intro = operations.Conv2d(6 * pixels, first, 3, padding=1)

        def blocks(count: int, width: int) -> nn.ModuleList:
            return nn.ModuleList(GatedBlock(width, condition, operations) for _ in range(count))

        pairs = list(zip(config.widths[:-1], config.widths[1:], strict=True))
        self.encoder = nn.ModuleList(blocks(n, w) for n, w in zip(config.encoder, config.widths[:-1], strict=True))
        self.down = nn.ModuleList(operations.Conv2d(fine, coarse, 2, 2) for fine, coarse in pairs)
        self.attention1 = PromptAttention(last, condition, config.heads, operations)
        self.middle = nn.ModuleList(MiddleBlock(last, kernel, condition, operations) for kernel in config.middle)
        self.attention2 = PromptAttention(last, condition, config.heads, operations)
        self.up = nn.ModuleList(operations.Conv2d(coarse, 4 * fine, 1) for fine, coarse in pairs)
        self.attention3 = PromptAttention(config.widths[-2], condition, config.heads, operations)
        self.decoder = nn.ModuleList(blocks(n, w) for n, w in zip(config.decoder, config.widths[:-1], strict=True))
        self.ending = operations.Conv2d(first, 3 * pixels, 3, padding=1)
        self.gain = operations.Conv2d(first, 3 * pixels, 1)
        self.share = operations.Conv2d(first, pixels, 1)

    @property
    def parts(self) -> tuple[str, ...]:
        """Return what a file of this network holds."""
        return ("denoiser",) if self.finish is None else ("denoiser", "finish")

    @property
    def receptive_radius(self) -> int:
        """Return the distance in px beyond which nothing influences a pixel, rounded up to whole cells."""
        config = self.config
        radius = 2 * config.unshuffle
        for level, (enc, dec) in enumerate(zip(config.encoder, config.decoder, strict=True)):
            radius += config.unshuffle * 2**level * (enc + dec)
        radius += CELL * sum(kernel // 2 for kernel in config.middle)
        return CELL * math.ceil((radius + CELL - 1) / CELL)

    def precondition(self, noisy: Tensor, alpha_cumprod: Tensor) -> Tensor:
        """Return the linear estimate of the residual (standard deviation about 0.2) from its noisy state; it is 0 where all is
        noise.
        """
        a = alpha_cumprod.float().view(-1, 1, 1, 1)
        power = 0.2**2
        gain = a.sqrt() * power / (a * power + (1 - a) * self.config.noise_scale**2)
        return noisy * gain.to(noisy.dtype)

    def about(self, severity: Tensor, length: Tensor, statistics: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what is known of whole pictures before the first step, for :meth:`denoise`.

        That is the tone curve [B, 3, KNOTS], the condition vector [B, E] without the time, the prompts' tokens [B, n, E] and
        their bias per cell [B, n, h, w].
        """
        curve = self.tone(statistics)
        about = self.statistics2(F.silu(self.statistics1(statistics * 4 - 2))) + self.toned(curve.flatten(1))
        guidance = self.prompt(severity, length, about)
        return curve, about, guidance.tokens, guidance.bias

    def forward(
        self,
        picture: Tensor,
        noisy: Tensor,
        timestep: Tensor,
        alpha_cumprod: Tensor,
        severity: Tensor,
        length: Tensor,
        statistics: Tensor,
    ) -> Tensor:
        return self.denoise(picture, noisy, timestep, alpha_cumprod, *self.about(severity, length, statistics))

    def denoise(
        self,
        picture: Tensor,
        noisy: Tensor,
        timestep: Tensor,
        alpha_cumprod: Tensor,
        curve: Tensor,
        about: Tensor,
        tokens: Tensor,
        bias: Tensor,
    ) -> Tensor:
        """Return the residual, given what :meth:`about` finds of the whole pictures; ``bias`` is that of the cells given."""
        condition = about + self.time2(F.silu(self.time1(sinusoid(timestep, 64).to(about.dtype))))
        guidance = Guidance(tokens, bias)
        stacked = torch.cat((picture * 2 - 1, self.precondition(noisy, alpha_cumprod)), 1)
        stacked = F.pixel_unshuffle(stacked, self.config.unshuffle).contiguous(memory_format=torch.channels_last)
        entry = self.intro(stacked)
        x, skips = entry, []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            x = _through(blocks, x, condition)
            skips.append(x)
            x = down(x)
        x = self.attention1(x, guidance)
        x = _through(self.middle, x, condition)
        x = self.attention2(x, guidance)
        coarsest = len(self.down) - 1
        for level in range(coarsest, -1, -1):
            x = F.pixel_shuffle(self.up[level](x), 2) + skips[level]
            if level == coarsest:
                x = self.attention3(x, guidance)
            x = _through(self.decoder[level], x, condition)
        x = x + entry
        heads = (self.ending, self.gain, self.share)
        detail, gain, share = (F.pixel_shuffle(head(x), self.config.unshuffle) for head in heads)
        return share * tone_change(picture, curve) + detail + gain * (picture + detail)


def _through(blocks: Any, x: Tensor, condition: Tensor) -> Tensor:
    """Return ``x`` after all blocks of a level."""
    for block in blocks:
        x = block(x, condition)
    return x


def initialise(model: Denoiser, seed: int) -> None:
    """Start of training: residual branches small and the output zero, so that the untrained network changes nothing."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            nn.init.zeros_(cast(Tensor, module.bias))
        if isinstance(module, GatedBlock):
            nn.init.normal_(module.conv2.weight, std=0.02)
        if isinstance(module, MiddleBlock):
            nn.init.normal_(module.conv2.weight, std=0.02)
            nn.init.normal_(module.conv4.weight, std=0.02)
        if isinstance(module, _Modulated):
            nn.init.normal_(module.modulation.weight, std=0.01)
    for prompts in (model.prompt.global_prompt, model.prompt.pool, model.prompt.keys):
        nn.init.normal_(prompts, std=0.5)
    for head in (model.ending, model.gain, model.share, model.tone.layer3, model.toned):
        nn.init.zeros_(head.weight)
    nn.init.ones_(model.share.bias)


FINISHED = '{"iterations": 23396, "hours": 5.84}'
"""The notes in the header of the denoiser that the shipped finish was trained for; the finish lies in a file of its own."""


def load(path: Path, operations: Any = nn) -> Denoiser:
    """Return the denoiser stored in ``path`` with the finish that the file holds, float32 on the CPU, in evaluation mode.

    A copy of the shipped denoiser gets the shipped finish, wherever it lies. Raises :class:`CheckpointError`.
    """
    config, tensors = read(path, Denoiser.file_kind)
    header = header_of(path)
    finish = {key: tensors.pop(key) for key in list(tensors) if key.startswith("finish.")}
    model = build(path, config, tensors, Denoiser, DenoiserConfig, operations)
    if finish:
        own = {key.removeprefix("finish."): value for key, value in finish.items()}
        model.finish = build(path, json.loads(header["finish"]), own, Finish, FinishConfig, operations)
    elif "parts" not in header and header.get("notes") == FINISHED:
        model.finish = load_finish(operations=operations)
    return model


def told(run: Runner, picture: Tensor, prompt: Prompt) -> Told:
    """Return what the denoiser is told of one picture [3, H, W] in [0, 1]."""
    known = {"severity": prompt.severity, "length": prompt.length, "statistics": prompt.statistics}
    curve, about, tokens, bias = run(known, "the whole picture's prompts", "about")
    return Told(picture, {"picture": picture}, {"bias": bias}, {"curve": curve, "about": about, "tokens": tokens})


def _memory(network: Denoiser, sizes: Sizes, height: int, width: int) -> float:
    config, size = network.config, next(network.parameters()).element_size()
    side = sizes.tile + 2 * max(sizes.overlap, network.receptive_radius)
    return 18 * config.widths[0] / config.unshuffle**2 * size * sizes.tile_batch * side**2


FAMILY = Family(
    name=Denoiser.file_kind,
    title="AdaQual denoiser, our presets",
    network=Denoiser,
    signature=("statistics1.weight", "prompt.global_prompt", "prompt.pool", "attention1.gate", "intro.weight"),
    tiling="windows",
    memory=_memory,
    told=told,
    part="denoise",
    load=load,
)
