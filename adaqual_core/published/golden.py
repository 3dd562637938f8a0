"""This module compares our networks with golden files: inputs, weights and outputs of reference implementations (see
tests/golden).

A golden file is safetensors with ``in.*``, ``weights.*``, ``out.*`` and perhaps ``meta.*``. Its family is told from the
weights' names and shapes, all sizes from these and the header.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import CheckpointError
from ..networks.family import Stated
from ..networks.registry import family_of
from ..networks.runner import Runner
from ..prompt import build_prompt
from ..quality.deqa.golden import check_deqa, relative_error
from ..quality.map import quality_from_severity
from ..sampling.ddim import Estimate, ddim
from ..sampling.patches import corners
from ..sampling.restore import TILINGS
from ..sampling.settings import settings_for
from ..weight_files import check_readable
from .detect import DEQA, detect
from .read import PUBLISHED

TOLERANCE, SAMPLING_TOLERANCE = 1e-4, 1e-3
SAMPLED = ("sample_residual", "x0_first", "x_last", "restored")
"""Outputs of whole sampling loops, which have the wider tolerance."""


def _first_line(problem: Exception) -> str:
    """Return the first line of an error's message, or the name of its type where it has none."""
    return (str(problem).splitlines() or [type(problem).__name__])[0]


class _File:
    """This class holds the tensors and the header of a golden file. What the file lacks is reported as
    :class:`CheckpointError`.
    """

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
        """Return a whole number from the header, or None where it is not stated."""
        try:
            return int(self.header[name]) if name in self.header else None
        except ValueError:
            raise CheckpointError(f"{self.path}: {name} in the header is no whole number") from None

    def outputs(self) -> dict[str, Tensor]:
        """Return the reference outputs by name."""
        return {key.removeprefix("out."): value for key, value in self.tensors.items() if key.startswith("out.")}

    def weights(self) -> dict[str, Tensor]:
        """Return the network's weights by its own names, and set ``family`` to the layout that they have."""
        own = {key.removeprefix("weights."): value for key, value in self.tensors.items() if key.startswith("weights.")}
        try:
            found = detect({key: tuple(value.shape) for key, value in own.items()})
        except CheckpointError as problem:
            raise CheckpointError(f"{self.path}: {problem}") from None
        self.family = found.family
        return {name: own[key] for name, key in found.keys.items()}


def _network(file: _File, stated: Stated) -> Any:
    """Return the file's network with its weights."""
    weights = file.weights()
    net = PUBLISHED[file.family]({key: tuple(value.shape) for key, value in weights.items()}, stated, nn)
    net.load_state_dict(weights)
    return net.train(False)


def _sampled(
    net: nn.Module,
    picture: Tensor,
    noise: Tensor,
    steps: list[int],
    patches: tuple[tuple[int, int], ...] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the first estimate and the result [3, H, W] of the pack's own sampler for a picture that is damaged everywhere.

    Noise, timesteps and the corners (y, x) of ``patches``, where the family has any, are the file's.
    """
    run, family, estimates = Runner(net), family_of(net), []
    prompt = build_prompt(picture[None], quality_from_severity(torch.ones(1, *picture.shape[-2:])))
    plan = TILINGS[family.tiling](run, settings_for(net), prompt)
    if patches is not None:
        plan = replace(plan, corners=patches)
    predict = plan.predictor(run, family.told(run, picture, prompt), prompt, lambda x0: None)

    def watched(state: Tensor, t: int) -> Estimate:
        estimate = predict(state, t)
        if not estimates:
            estimates.append(estimate.x0.clone())
        return estimate

    result = ddim(watched, noise.clone(), steps)
    return estimates[0], result


def _errors(file: _File, ours: dict[str, Callable[[], Tensor]]) -> dict[str, float]:
    """Return the relative error of every output of the file, from functions that compute our outputs by name."""
    unknown = [name for name in file.outputs() if name not in ours]
    if unknown:
        raise CheckpointError(f"{file.path}: unknown output {unknown[0]}; the golden file is of another form")
    return {name: relative_error(ours[name](), reference) for name, reference in file.outputs().items()}


@torch.inference_mode()
def check_official(path: Path) -> dict[str, float]:
    """Return the relative errors of an AdaQual-Diff checkpoint's outputs by name: network, prompts per score, attentions,
    sampler.
    """
    file = _File(path)
    net = _network(file, Stated(heads=file.stated("attn_num_heads")))

    def sampled() -> Tensor:
        steps = file["meta.timesteps"].tolist()
        pairs = zip(file["in.image"], file["in.sample_noise"], strict=True)
        return torch.stack([_sampled(net, picture, noise, steps)[1] for picture, noise in pairs])

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
    """Return the relative errors of WeatherDiffusion's outputs by name: the first patch's noise, and the sampler's first x0, last
    state and picture.
    """
    file = _File(path)
    net = _network(file, Stated(patch=file.stated("image_size")))
    patch, pictures, noises = net.config.patch, file["in.cond"], file["in.noise"]

    def grid() -> tuple[tuple[int, int], ...]:
        if "meta.corners" in file:
            return tuple((y, x) for y, x in file["meta.corners"].tolist())
        height, width = pictures.shape[-2:]
        return tuple(corners(height, width, patch, file.stated("grid_r") or 16))

    def first_patch() -> Tensor:
        y, x = grid()[0]
        pair = torch.cat((pictures * 2 - 1, noises), 1)
        return net(pair[:, :, y : y + patch, x : x + patch], file["in.timestep"])

    @cache
    def sampled() -> tuple[Tensor, Tensor]:
        steps, place = sorted(file["meta.seq"].tolist(), reverse=True), grid()
        found = [_sampled(net, picture, noise, steps, place) for picture, noise in zip(pictures, noises, strict=True)]
        return torch.stack([first for first, _ in found]), torch.stack([last for _, last in found])

    return _errors(
        file,
        {
            "eps_first_patch": first_patch,
            "x0_first": lambda: sampled()[0],
            "x_last": lambda: sampled()[1],
            "restored": lambda: ((sampled()[1] + 1) / 2).clamp(0, 1),
        },
    )


CHECKS: dict[str, Callable[[Path], dict[str, float]]] = {
    "adaqual_official": check_official,
    "weatherdiffusion": check_weatherdiffusion,
    DEQA: check_deqa,
}
"""Layout (as :func:`detect.detect` names it) → function from a golden file to its relative errors by output."""


def check_golden(path: Path) -> dict:
    """Compute everything that a golden file holds, and return how far it is from the file's outputs.

    The result has the layout as ``family``, the relative error of each output by name as ``outputs``, the largest as
    ``max_rel_err``, the ``tolerances`` by name, and ``passed``. Raises :class:`CheckpointError` for files that are no golden
    files.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the path of a golden file (.safetensors)")
    file = _File(path)
    file.weights()
    if file.family not in CHECKS:
        raise CheckpointError(f"{path}: no check for {file.family}; choose from {', '.join(CHECKS)}")
    try:
        outputs = CHECKS[file.family](path)
    except CheckpointError:
        raise
    except (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError) as problem:
        raise CheckpointError(
            f"{path}: inputs, weights and header do not belong together ({_first_line(problem)}); get it again"
        ) from None
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
