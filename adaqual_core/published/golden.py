"""Comparison with golden files: inputs, weights and outputs of reference implementations (see tests/golden).

A golden file is safetensors with ``in.*``, ``weights.*``, ``out.*`` and perhaps ``meta.*``. Its family is told from the
weights' names and shapes, all sizes from these and the header.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import CheckpointError
from ..networks import adaqual_diff as official
from ..networks import weather_diffusion as weatherdiffusion
from ..networks.adaqual_diff import OfficialNet
from ..networks.weather_diffusion import WeatherNet
from ..quality.deqa.golden import check_deqa
from ..sampling.ddim import sample
from ..sampling.patches import corners, sample_patches
from ..weight_files import check_readable
from .detect import detect

TOLERANCE, SAMPLING_TOLERANCE = 1e-4, 1e-3
SAMPLED = ("sample_residual", "x0_first", "x_last", "restored")
"""Outputs of whole sampling loops, which have the wider tolerance."""


def relative_error(ours: Tensor, reference: Tensor) -> float:
    """Largest difference over the reference's largest magnitude; infinite for other shapes and values not finite."""
    if ours.shape != reference.shape or not bool(torch.isfinite(ours - reference).all()):
        return float("inf")
    return float((ours - reference).abs().max() / reference.abs().max().clamp_min(1e-12))


class _File:
    """Tensors and header of a golden file; what it lacks is reported as :class:`CheckpointError`."""

    def __init__(self, path: Path):
        self.path = path
        check_readable(path)
        try:
            with safe_open(path, "pt") as file:
                self.header = file.metadata() or {}
                self.tensors = {key: file.get_tensor(key) for key in file.keys()}
        except (SafetensorError, OSError) as problem:
            raise CheckpointError(f"{path}: not a readable golden file ({problem}); get it again") from None

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise CheckpointError(f"{self.path}: {name} is missing; the golden file is of another form")
        return self.tensors[name]

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def stated(self, name: str) -> int | None:
        """A whole number from the header."""
        try:
            return int(self.header[name]) if name in self.header else None
        except ValueError:
            raise CheckpointError(f"{self.path}: {name} in the header is no whole number") from None

    def outputs(self) -> dict[str, Tensor]:
        return {key.removeprefix("out."): value for key, value in self.tensors.items() if key.startswith("out.")}

    def weights(self) -> dict[str, Tensor]:
        """The network's weights by its own names."""
        own = {key.removeprefix("weights."): value for key, value in self.tensors.items() if key.startswith("weights.")}
        try:
            found = detect({key: tuple(value.shape) for key, value in own.items()})
        except CheckpointError as problem:
            raise CheckpointError(f"{self.path}: {problem}") from None
        self.family = found.family
        return {name: own[key] for name, key in found.keys.items()}


def _shapes(weights: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in weights.items()}


def _errors(file: _File, ours: dict[str, Callable[[], Tensor]]) -> dict[str, float]:
    """Error of every output of the file, from functions that compute them by name."""
    unknown = [name for name in file.outputs() if name not in ours]
    if unknown:
        raise CheckpointError(f"{file.path}: unknown output {unknown[0]}; the golden file is of another form")
    return {name: relative_error(ours[name](), reference) for name, reference in file.outputs().items()}


@torch.inference_mode()
def check_official(path: Path) -> dict[str, float]:
    """Relative errors of the official AdaQual layout: network, prompts per score, attentions, published sampler."""
    file = _File(path)
    weights = file.weights()
    net = OfficialNet(official.read_config(_shapes(weights), file.stated("attn_num_heads") or 8))
    net.load_state_dict(weights)
    net.eval()

    def sampled() -> Tensor:
        return sample(
            lambda state, t: net(file["in.image"], state, torch.tensor([t])),
            file["in.sample_noise"],
            file["meta.timesteps"].tolist(),
            clipped_direction=False,
        )

    def prompt(name: str) -> Callable[[], Tensor]:
        return lambda: net.prompt_pool.published(float(name.removeprefix("prompt.")))

    def tokens() -> Tensor:
        if "out.prompt.2.3" in file:
            return file["out.prompt.2.3"]
        return net.prompt_pool.published(float(file["in.quality"][0]))

    ours: dict[str, Callable[[], Tensor]] = {
        "predicted_residual": lambda: net(file["in.image"], file["in.noisy_residual"], file["in.timestep"]),
        "attn_local": lambda: net.attn_local(file["in.features"], tokens()),
        "attn_global": lambda: net.attn_global(file["in.features"], tokens()),
        "sample_residual": sampled,
    }
    ours |= {name: prompt(name) for name in file.outputs() if name.startswith("prompt.")}
    return _errors(file, ours)


@torch.inference_mode()
def check_weatherdiffusion(path: Path) -> dict[str, float]:
    """Relative errors of WeatherDiffusion: the first patch's noise; the sampler's first x0, last state and picture."""
    file = _File(path)
    weights = file.weights()
    patch = file.stated("image_size")
    net = WeatherNet(weatherdiffusion.read_config(_shapes(weights), patch))
    net.load_state_dict(weights)
    net.eval()
    patch = net.config.patch
    pictures, noises = file["in.cond"], file["in.noise"]
    found: dict[str, Tensor] = {}

    def grid() -> list[tuple[int, int]]:
        if "meta.corners" in file:
            return [(y, x) for y, x in file["meta.corners"].tolist()]
        return corners(*pictures.shape[-2:], patch, file.stated("grid_r") or 16)

    def first_patch() -> Tensor:
        y, x = grid()[0]
        pair = torch.cat((pictures * 2 - 1, noises), 1)
        return net(pair[:, :, y : y + patch, x : x + patch], file["in.timestep"])

    def sampled(name: str) -> Tensor:
        if not found:
            steps = sorted(file["meta.seq"].tolist(), reverse=True)
            first, last = [], []
            for picture, noise in zip(pictures, noises, strict=True):
                estimates: list[Tensor] = []

                def see(index: int, x0: Tensor, estimates: list[Tensor] = estimates) -> None:
                    if index == 0:
                        estimates.append(x0.clone())

                last.append(
                    sample_patches(
                        lambda patches, t: net(patches, torch.tensor([t])),
                        picture, noise, steps, grid=grid(), patch=patch, callback=see,
                    )
                )  # fmt: skip
                first += estimates
            found["x0_first"], found["x_last"] = torch.stack(first), torch.stack(last)
            found["restored"] = ((found["x_last"] + 1) / 2).clamp(0, 1)
        return found[name]

    return _errors(
        file,
        {
            "eps_first_patch": first_patch,
            "x0_first": lambda: sampled("x0_first"),
            "x_last": lambda: sampled("x_last"),
            "restored": lambda: sampled("restored"),
        },
    )


FAMILIES: dict[str, Callable[[Path], dict[str, float]]] = {
    "adaqual_official": check_official,
    "weatherdiffusion": check_weatherdiffusion,
    "deqa": check_deqa,
}
"""Family (as :func:`detect.detect` names it) → function from a golden file to its relative errors by output."""


def check_golden(path: Path) -> dict:
    """Run everything in a golden file. Raises :class:`CheckpointError` for files that are none.

    ``family``; ``outputs``: relative error by name; ``max_rel_err``; ``tolerances`` by name; ``passed``.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the path of a golden file (.safetensors)")
    file = _File(path)
    file.weights()
    if file.family not in FAMILIES:
        raise CheckpointError(f"{path}: no check for {file.family}; choose from {', '.join(FAMILIES)}")
    outputs = FAMILIES[file.family](path)
    if not outputs:
        raise CheckpointError(f"{path}: holds no outputs; the golden file is of another form")
    tolerances = {name: SAMPLING_TOLERANCE if name in SAMPLED else TOLERANCE for name in outputs}
    return {
        "family": file.family,
        "outputs": outputs,
        "max_rel_err": max(outputs.values()),
        "tolerances": tolerances,
        "passed": all(error < tolerances[name] for name, error in outputs.items()),
    }
