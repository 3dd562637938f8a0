"""One interface to all assessors: open whatever lies at a path, and ask it for a map or for one score per picture."""

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import CheckpointError
from ..weight_files import check_readable
from .bundled import AssessorNet, estimate_quality, load_assessor
from .cache import ScoreCache
from .clip_iqa import ClipIqa, load_clip_iqa
from .deqa.scorer import DeqaScorer, load_deqa
from .deqa.shards import EMBEDDINGS
from .estimator import QualityEstimator
from .map import QualityMap
from .tiled import Progress, estimate_quality_by_tiles, score_pictures

Assessor = AssessorNet | QualityEstimator | ClipIqa | DeqaScorer

EMBEDDED, CLIP_IQA, DEQA = "embedded", "CLIP-IQA", "DeQA-Score"


def cache_folder() -> Path:
    """Where the command line keeps scores: ``adaqual/scores`` in $XDG_CACHE_HOME, or else in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adaqual" / "scores"


def _configured(config: Path) -> str:
    """The kind of model that a config.json describes."""
    check_readable(config)
    try:
        found = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise CheckpointError(f"{config}: cannot be read as JSON ({problem}); download it again") from None
    kind = found.get("model_type") if isinstance(found, dict) else None
    if kind == "clip":
        return CLIP_IQA
    if kind == "mplug_owl2" or "visual_config" in (found if isinstance(found, dict) else ()):
        return DEQA
    raise CheckpointError(f"{config}: model_type {kind!r}; give the folder of a CLIP or of a DeQA-Score model")


def kind_of(path: Path) -> str:
    """What lies at ``path``, from names and headers: an AdaQual assessor's file, or a CLIP's or DeQA-Score's folder or file.

    A file that is none of these counts as embedded: reading it says what is wrong with it.
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
    """Raise :class:`CheckpointError` where ``bits`` are asked for of an assessor that has no language model."""
    if bits is not None and kind != DEQA:
        raise CheckpointError(f"{path}: {kind}; only DeQA-Score can have its weights in {bits} bits: leave them as in the file")


def open_assessor(path: Path, device: torch.device | str = "cpu", bits: int | None = None) -> Assessor:
    """The assessor at ``path`` (see :func:`kind_of`), ready on ``device``; raises :class:`CheckpointError`.

    ``bits`` 8 or 4 packs the weights of DeQA-Score's language model, which needs the package bitsandbytes.
    """
    path, kind = Path(path), kind_of(path)
    refuse_bits(path, kind, bits)
    if kind == DEQA:
        return load_deqa(path, device=device, bits=bits)
    if kind == CLIP_IQA:
        return load_clip_iqa(path if path.is_dir() else path.parent).to(device)
    return load_assessor(path).to(device)


def assess(
    assessor: Assessor, picture: Tensor, *, cache: ScoreCache | None = None, progress: Progress | None = None
) -> QualityMap:
    """Quality map of pictures [B, 3 or 4, H, W] in [0, 1] by any assessor, with its default settings.

    ``cache`` keeps what the slow assessors found; the embedded one is as fast as a cache. ``progress(done, total)`` is called
    as work goes on; what it raises cancels.
    """
    if isinstance(assessor, AssessorNet | QualityEstimator):
        return estimate_quality(assessor, picture, progress=progress)
    return estimate_quality_by_tiles(assessor, picture, cache=cache, progress=progress)


def score(assessor: Assessor, picture: Tensor, *, cache: ScoreCache | None = None, progress: Progress | None = None) -> Tensor:
    """One score per picture, [B] in [1, 5]: the map's mean for the embedded assessor, else the network's own for the whole."""
    if isinstance(assessor, AssessorNet | QualityEstimator):
        return estimate_quality(assessor, picture, progress=progress).mean
    return score_pictures(assessor, picture, cache=cache, progress=progress)
