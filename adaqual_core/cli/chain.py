"""This module takes a decoded picture to a restored one. The commands that restore or judge share it."""

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor
from tqdm import tqdm

from ..filters import luma
from ..imageio import read_picture
from ..networks.shipped import SHIPPED_RESTORER
from ..prompt import PromptSettings, build_prompt
from ..published.read import load_restorer
from ..quality.assess import Assessor, assess, cache_folder, open_assessor
from ..quality.bundled import SHIPPED_ASSESSOR
from ..quality.cache import ScoreCache
from ..quality.estimator import QualityEstimator
from ..quality.map import QualityMap
from ..quality.naming import open_namer, with_kinds
from ..quality.set_damage import assume
from ..sampling.restore import restore
from ..sampling.settings import Restored, RestoreSettings
from .messages import UsageError

NOTHING: Mapping[str, float] = MappingProxyType({})
"""No damage that is assumed."""


def open_device(name: str) -> torch.device:
    """Return the device of that name; ``auto`` is cuda where there is one, else mps, else cpu.

    Raises :class:`UsageError` for a device that this machine does not have.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    kind, _, index = name.partition(":")
    known = not index or int(index) < (torch.cuda.device_count() if kind == "cuda" else 1)
    if not available.get(kind) or not known:
        there = ", ".join(kind for kind, there in available.items() if there)
        raise UsageError(f"--device: '{name}' is not available here; choose auto or {there}")
    return torch.device(name)


def settings_from(build: Callable[..., Any], args: argparse.Namespace, *names: str) -> Any:
    """Return what ``build`` makes of those of the named options that were given.

    A ValueError that ``build`` raises becomes a :class:`UsageError` that names the option.
    """
    try:
        return build(**given(args, *names))
    except ValueError as problem:
        name, _, said = str(problem).partition(":")
        raise UsageError(f"--{name.replace('_', '-')}:{said}") from None


def given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return the values of those of the named options that were given, by name."""
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def read_mask(path: Path | None) -> Tensor | None:
    """Return the brightness of a picture as a mask [1, h, w] in [0, 1], 1 = white, or None without a path.

    Alpha does not count.
    """
    return None if path is None else luma(read_picture(path)[:, :3])[:, 0]


def peak_rss_mb() -> float | None:
    """Return the most memory that this process has held so far, in MiB; None where the system does not tell (Windows).

    Linux counts the parent's peak in ``ru_maxrss`` of a process that Python started, so that the process's own status is read
    there.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text("utf-8"))
        if found:
            return round(int(found[1]) / 2**10, 1)
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def open_judge(args: argparse.Namespace, device: torch.device) -> Assessor:
    """Open the assessor that the options name, by default the one that comes with the pack."""
    return open_assessor(args.assessor or SHIPPED_ASSESSOR, device, args.assessor_bits)


@dataclass(frozen=True)
class Models:
    """These are the networks of one call: the restorer, the assessor, and the ``namer`` of :func:`open_namer`, which names the
    kinds of damage where the assessor does not.
    """

    restorer: nn.Module
    assessor: Assessor
    namer: QualityEstimator | None


def open_models(args: argparse.Namespace, device: torch.device) -> Models:
    """Open the networks that the options name, by default those that come with the pack."""
    restorer, assessor = load_restorer(args.model or SHIPPED_RESTORER, mode=args.mode).to(device), open_judge(args, device)
    return Models(restorer, assessor, open_namer(assessor, device))


def judge_picture(assessor: Assessor, picture: Tensor, label: str) -> QualityMap:
    """Return the quality map of one picture [1, 3 or 4, H, W] in [0, 1], and show progress under ``label``.

    Scores of slow assessors are kept in :func:`adaqual_core.quality.assess.cache_folder`.
    """
    with tqdm(desc=f"{label}: quality", unit="step", leave=False, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return assess(assessor, picture, cache=ScoreCache(cache_folder()), progress=progress)


def restore_picture(
    models: Models,
    picture: Tensor,
    prompts: PromptSettings,
    settings: RestoreSettings,
    label: str,
    assumed: Mapping[str, float] = NOTHING,
    mask: Tensor | None = None,
) -> tuple[Restored, float]:
    """Judge and restore one decoded picture [1, 3 or 4, H, W] in [0, 1], and show progress under ``label``.

    Returns the result and the mean quality, 1 to 5, that was found in the input. ``assumed`` holds severities by kind of
    damage: the picture is restored as if it had each of them at least, whatever the assessor sees; where ``mask`` [1, h, w] is
    given, only in its region.
    """
    quality = judge_picture(models.assessor, picture, label)
    told = with_kinds(quality, picture, models.namer)
    prompt = build_prompt(picture, assume(told, assumed, mask), prompts)
    with tqdm(desc=label, unit="batch", leave=False, disable=None) as bar:

        def progress(done: int, total: int, preview) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return restore(models.restorer, picture, prompt, settings, progress=progress), float(quality.mean)


def shown(path: Path) -> str:
    """Return the last part of a path, shortened to at most 60 characters, as a label of progress."""
    return path.name if len(path.name) <= 60 else f"{path.name[:40]}…{path.name[-16:]}"
