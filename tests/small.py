"""Small networks with random weights and small pictures, for tests that must be fast and must be able to fail.

A fresh restorer's output and prompt gates are zero: every parameter is disturbed, so that nothing is the identity.
"""

import argparse
from dataclasses import replace

import torch
from torch import Tensor

from adaqual_core.kinds import KINDS
from adaqual_core.networks.adaqual_diff import OfficialConfig, OfficialNet
from adaqual_core.networks.restorer import Restorer, RestorerConfig, initialise
from adaqual_core.networks.weather_diffusion import WeatherConfig, WeatherNet
from adaqual_core.prompt import Prompt, PromptSettings, build_prompt
from adaqual_core.quality.estimator import EstimatorConfig, QualityEstimator
from adaqual_core.quality.map import QualityMap, quality_from_severity, worst_of_cells


def disturb(network: torch.nn.Module, amount: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(amount * torch.randn(parameter.shape, generator=generator))


RESTORER = RestorerConfig(
    widths=(8, 8, 16, 16),
    encoder=(1, 1, 1),
    middle=1,
    decoder=(1, 1, 1),
    condition_width=16,
    heads=2,
    grid_widths=(8, 8, 8),
    grid_blocks=1,
    grid_levels=4,
)
"""Small sizes of the restorer."""


def restorer(seed: int = 0) -> Restorer:
    """A small restorer with random weights. It changes pictures by about 0.1."""
    model = Restorer(RESTORER)
    initialise(model, seed)
    disturb(model, 0.05, seed)
    with torch.no_grad():
        for head in (model.denoiser.ending, model.grid.head):
            head.weight.mul_(0.05)
            head.bias.mul_(0.05)
    return model.requires_grad_(False).eval()


def assessor(seed: int = 0) -> QualityEstimator:
    """A small embedded assessor with random weights."""
    torch.manual_seed(seed)
    net = QualityEstimator(EstimatorConfig(widths=(8, 8, 8, 16), blocks=(1, 1, 1), dilations=(1, 2), picture_width=8))
    disturb(net, 0.1, seed)
    return net.requires_grad_(False).eval()


def official(mode: str = "published", seed: int = 0) -> OfficialNet:
    """The authors' layout with four levels, as theirs, and residuals of about 0.1."""
    torch.manual_seed(seed)
    model = OfficialNet(OfficialConfig(8, (1, 1, 1, 2), 1, (1, 1, 1, 1), 8, projections=(128,)), mode)
    disturb(model, 0.1, seed)
    with torch.no_grad():
        model.ending.weight.mul_(0.02)
        model.ending.bias.mul_(0.02)
    return model.requires_grad_(False).eval()


def weather(seed: int = 0) -> WeatherNet:
    """WeatherDiffusion with two levels and patches of 32 px."""
    torch.manual_seed(seed)
    model = WeatherNet(WeatherConfig(32, (32, 32), 1, (False, True), 32, 32))
    disturb(model, 0.05, seed)
    return model.requires_grad_(False).eval()


def save_weatherdiffusion(path) -> None:
    """A file as WeatherDiffusion's training writes it, with small random weights."""
    average = weather().state_dict()
    config = argparse.Namespace(data=argparse.Namespace(image_size=32))
    raw = {f"module.{key}": torch.zeros_like(value) for key, value in average.items()}
    torch.save({"epoch": 1, "step": 2, "state_dict": raw, "ema_helper": dict(average), "config": config}, path)


def save_lightning(path) -> None:
    """A file as AdaQual-Diff's training writes it, with small random weights."""
    weights = {f"model.{key}": value for key, value in official().state_dict().items()}
    torch.save({"epoch": 3, "state_dict": {**weights, "lpips_fn.a": torch.ones(1)}, "optimizer_states": [{}]}, path)


def picture(height: int, width: int, *, batch: int = 1, channels: int = 3, seed: int = 0) -> Tensor:
    """Smooth colours with some grain, [B, C, H, W] in [0.05, 0.95]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((batch, channels, 3, 4), generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return (0.85 * smooth + 0.15 * torch.rand(smooth.shape, generator=generator)).clamp(0.05, 0.95)


def prompt_for(pixels: Tensor, severity: float | Tensor = 1.0, settings: PromptSettings | None = None) -> Prompt:
    """The prompt for damage of the given severity and of half as much of each kind, everywhere or as a mask [H, W]."""
    batch, _, height, width = pixels.shape
    mask = torch.as_tensor(severity, dtype=torch.float32).expand(batch, height, width)
    kinds = 0.5 * worst_of_cells(mask[:, None]).expand(-1, len(KINDS), -1, -1)
    return build_prompt(pixels, replace(quality_from_severity(mask), kinds=kinds), settings or PromptSettings())


def flat_map(height: int, width: int, score: float) -> QualityMap:
    return QualityMap(torch.full((1, 1, 1, 1), score), height, width, "test")


def undamaged(height: int, width: int) -> QualityMap:
    """The map of an assessor that names kinds of damage and sees none."""
    return QualityMap(torch.full((1, 1, 1, 1), 5.0), height, width, "test", torch.zeros(1, len(KINDS), 1, 1))
