"""This module is the one interface to all assessors: it opens the model at a path, and asks it for a map or for one score per
picture."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..default_dtype import float32_default
from ..errors import CheckpointError
from ..weight_files import check_readable, read_json
from .bundled import SHIPPED_ASSESSOR, estimate_quality, load_assessor
from .cache import ScoreCache
from .clip_iqa import ClipIqa, load_clip_iqa
from .deqa.scorer import DeqaScorer, load_deqa
from .deqa.shards import EMBEDDINGS
from .estimator import QualityEstimator
from .map import QualityMap
from .tiled import Progress, estimate_quality_by_tiles, score_pictures

Assessor = QualityEstimator | ClipIqa | DeqaScorer

EMBEDDED, CLIP_IQA, DEQA = "embedded", "CLIP-IQA", "DeQA-Score"


def cache_folder() -> Path:
    """Return the folder in which the command line keeps scores: ``adaqual/scores`` in $XDG_CACHE_HOME, otherwise in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adaqual" / "scores"


def _configured(config: Path) -> str:
    """Return the kind of model that a config.json describes."""
    found = read_json(config, "download it again")
    kind = found.get("model_type")
    if kind == "clip":
        return CLIP_IQA
    if kind == "mplug_owl2" or "visual_config" in found:
        return DEQA
    raise CheckpointError(f"{config}: model_type {kind!r}; give the folder of a CLIP or of a DeQA-Score model")


def kind_of(path: Path) -> str:
    """Return which kind of assessor lies at ``path``: EMBEDDED, CLIP_IQA or DEQA, told from names and headers.

    A file that is none of these counts as embedded, because reading it as such reports what is wrong with it.
    """
    path = Path(path)
    config = (path if path.is_dir() else path.parent) / "config.json"
    if path.is_dir():
        if not config.is_file():
            raise CheckpointError(
                f"{config}: no such file; give an AdaQual assessor (.safetensors), or the folder of a CLIP or DeQA-Score model"
            )
        return _configured(config)
    if path.suffix == ".json" and path.is_file():
        return _configured(config)
    check_readable(path)
    try:
        with safe_open(path, "pt") as file:
            header, keys = file.metadata() or {}, set(file.keys())
    except (SafetensorError, OSError):
        return EMBEDDED
    if EMBEDDINGS in keys:
        return DEQA
    return _configured(config) if "adaqual" not in header and config.is_file() else EMBEDDED


def refuse_bits(path: Path, kind: str, bits: int | None) -> None:
    """Raise :class:`CheckpointError` if ``bits`` are asked for of an assessor that has no language model."""
    if bits is not None and kind != DEQA:
        raise CheckpointError(f"{path}: {kind}; only DeQA-Score can have its weights in {bits} bits: leave them as in the file")


@dataclass(frozen=True)
class AssessorFamily:
    """This class says how assessors of one kind are opened and asked.

    ``name``: what :func:`kind_of` calls them; ``classes``: what they are in Python. ``open(path, device, bits, operations,
    offload)``, ``assess`` and ``score``: what :func:`open_assessor`, :func:`assess` and :func:`score` call. ``memory``: bytes of
    work beside the weights, measured. ``share``: the part of the time of assessing and restoring that assessing usually takes.
    ``whole``: whether all of the weights must lie on the device where it runs.
    """

    name: str
    classes: tuple[type, ...]
    open: Callable[..., Assessor]
    assess: Callable[..., QualityMap]
    score: Callable[..., Tensor]
    memory: int
    share: float
    whole: bool = True


def _open_embedded(path: Path, device: torch.device | str, bits: int | None, operations, offload: bool | None) -> Assessor:
    return load_assessor(path, operations).to(device)


def _open_clip(path: Path, device: torch.device | str, bits: int | None, operations, offload: bool | None) -> Assessor:
    return load_clip_iqa(path if path.is_dir() else path.parent).to(device)


def _open_deqa(path: Path, device: torch.device | str, bits: int | None, operations, offload: bool | None) -> Assessor:
    return load_deqa(path, device=device, bits=bits, operations=operations, offload=offload)


def _map_of_cells(net: Any, picture: Tensor, *, cache: ScoreCache | None, progress: Progress | None) -> QualityMap:
    """Return the map of an embedded assessor. It does not use the cache, which would be no faster."""
    return estimate_quality(net, picture, progress=progress)


def _mean_of_cells(net: Any, picture: Tensor, *, cache: ScoreCache | None, progress: Progress | None) -> Tensor:
    """Return the mean of the map that :func:`_map_of_cells` returns, [B]."""
    return estimate_quality(net, picture, progress=progress).mean


FAMILIES = (
    AssessorFamily(EMBEDDED, (QualityEstimator,), _open_embedded, _map_of_cells, _mean_of_cells, 400 * 2**20, share=1 / 8),
    AssessorFamily(CLIP_IQA, (ClipIqa,), _open_clip, estimate_quality_by_tiles, score_pictures, 1000 * 2**20, share=3 / 4),
    AssessorFamily(
        DEQA, (DeqaScorer,), _open_deqa, estimate_quality_by_tiles, score_pictures, 1000 * 2**20, share=3 / 4, whole=False
    ),
)
"""All kinds of assessors. A new one is added here, and to :func:`kind_of`."""


def family_of(assessor: Assessor) -> AssessorFamily:
    """Return the family of an opened assessor; raises TypeError for anything else."""
    for family in FAMILIES:
        if isinstance(assessor, family.classes):
            return family
    raise TypeError(f"assessor: {type(assessor).__name__} judges no pictures; give what open_assessor returns")


@float32_default()
def open_assessor(
    path: Path = SHIPPED_ASSESSOR,
    device: torch.device | str = "cpu",
    bits: int | None = None,
    operations: Any = nn,
    offload: bool | None = None,
) -> Assessor:
    """Return the assessor at ``path`` (see :func:`kind_of`; by default the shipped one), ready on ``device``.

    ``bits`` 8 or 4 packs the weights of DeQA-Score's language model, which needs the package bitsandbytes. ``operations``: the
    layers to build of, where the network is ours. ``offload``: whether DeQA-Score's weights stay in the host's memory; None
    decides by the room there is. Raises :class:`CheckpointError`.
    """
    path, kind = Path(path), kind_of(path)
    refuse_bits(path, kind, bits)
    family = next(family for family in FAMILIES if family.name == kind)
    return family.open(path, device, bits, operations, offload)


@float32_default()
def assess(
    assessor: Assessor, picture: Tensor, *, cache: ScoreCache | None = None, progress: Progress | None = None
) -> QualityMap:
    """Return the quality map of pictures [B, 3 or 4, H, W] in [0, 1] by any assessor, with its default settings.

    ``cache`` keeps what the slow assessors found. ``progress(done, total)`` is called as work goes on; what it raises cancels.
    """
    return family_of(assessor).assess(assessor, picture, cache=cache, progress=progress)


@float32_default()
def score(assessor: Assessor, picture: Tensor, *, cache: ScoreCache | None = None, progress: Progress | None = None) -> Tensor:
    """Return one score per picture, [B] in [1, 5]: the mean of the map of an embedded assessor, otherwise the network's own score
    for the whole picture. The other arguments are those of :func:`assess`.
    """
    return family_of(assessor).score(assessor, picture, cache=cache, progress=progress)
