"""This module describes a family of networks: everything that loaders, sampler and memory management must know of one, in one
object.

Every family's own file ends in its :class:`Family`; :mod:`adaqual_core.networks.registry` lists them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch.nn as nn
from torch import Tensor

from ..prompt import Prompt
from .runner import Runner

Shapes = Mapping[str, tuple[int, ...]]
"""Names of a file's tensors and their shapes."""


WHOLE = 4
"""Times the settings' ``tile``: the side in px of the largest square that tiling by "regions" runs whole (2048 px by default)."""


@dataclass(frozen=True)
class Told:
    """This class holds what a network is told of one picture. It is computed once per picture, whatever the number of windows and
    steps.

    ``base`` [3, H, W]: the picture that the sampled residual is added to. ``pictures`` [3, H, W] in [0, 1] and ``cells`` [1, C,
    h, w] on the cell grid, by the names of the network's arguments: each window gets its part of them. ``whole`` [1, ...]: each
    window gets all of them.
    """

    base: Tensor
    pictures: Mapping[str, Tensor] = field(default_factory=dict)
    cells: Mapping[str, Tensor] = field(default_factory=dict)
    whole: Mapping[str, Tensor] = field(default_factory=dict)


def told_by_prompt(run: Runner, picture: Tensor, prompt: Prompt) -> Told:
    """Return the picture [3, H, W] and its prompt as they are, for networks that make their tokens of the prompt themselves."""
    cells = {"severity": prompt.severity, "length": prompt.length}
    return Told(picture, {"picture": picture}, cells, {"statistics": prompt.statistics})


@dataclass(frozen=True)
class Stated:
    """This class holds what the shapes of a published file's tensors do not tell; None takes what the authors use.

    ``patch``: side in px of WeatherDiffusion's patches. ``heads``: number of AdaQual-Diff's attention heads. ``mode``: how
    AdaQual-Diff uses its prompt module, "published" or "prompted".
    """

    patch: int | None = None
    heads: int | None = None
    mode: str = "published"


class Sizes(Protocol):
    """This protocol is the settings of the sampler that decide how much memory a network needs."""

    @property
    def tile(self) -> int: ...
    @property
    def overlap(self) -> int: ...
    @property
    def tile_batch(self) -> int: ...
    @property
    def patch_batch(self) -> int: ...


@dataclass(frozen=True)
class Family:
    """This class is a family of restoration networks.

    ``name``: what files' headers and commands call it. ``title``: what messages call it. ``network``: its class; an instance has
    a ``config`` with a ``noise_scale``, the standard deviation of the sampler's noise.

    ``signature``: names of tensors that tell its files from all others. ``ignored``: beginnings of the names of tensors that the
    network does not need. A family of ours has ``load(path, operations)``, which reads a file with its configuration in the
    header. A published family has ``build(shapes, stated, operations)`` instead: the network that tensors of these shapes ask
    for. It raises KeyError, ValueError or IndexError where they ask for the impossible.

    ``steps``, ``schedule``: what it is sampled with unless the user says otherwise. ``told(run, picture, prompt)``: what the
    network is told of one picture [3, H, W] in [0, 1] and the prompt of that one picture. ``part``: the name of the submodule
    that predicts, empty for the network itself.

    ``tiling``: how the estimate of the whole picture is assembled. "windows": windows with enough context to equal the whole,
    for networks of finite ``receptive_radius``; "regions": each damaged region in a window of its own; "patches": the mean of
    overlapping patches. ``space``: what is sampled, the "residual" to add to the base or the "image" itself in [−1, 1].
    ``unclipped``: the remaining noise is read from the prediction before it is clamped to ±1. ``needs_kinds``: the prompt must
    name the kinds of damage.

    ``memory(network, sizes, height, width)``: bytes of work beside the weights for a picture of that many px, as measured.
    """

    name: str
    title: str
    network: type[nn.Module]
    signature: tuple[str, ...]
    tiling: Literal["windows", "regions", "patches"]
    memory: Callable[[Any, Sizes, int, int], float]
    told: Callable[[Runner, Tensor, Prompt], Told] = told_by_prompt
    part: str = ""
    space: Literal["residual", "image"] = "residual"
    unclipped: bool = False
    needs_kinds: bool = False
    steps: int = 2
    schedule: str = "trailing"
    ignored: tuple[str, ...] = ()
    load: Callable[[Path, Any], nn.Module] | None = None
    build: Callable[[Shapes, Stated, Any], nn.Module] | None = None
