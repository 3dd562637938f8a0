"""This module detects which network a file holds, from its tensors' names and shapes alone, never from the file's name.

Every known layout is data: keys that must exist, prefixes that may be dropped, and for the published networks the exact
names and shapes that sizes read from the file ask for. An unknown file is told the nearest layout and what differs.
"""

from dataclasses import dataclass

import torch
import torch.nn as nn

from ..errors import CheckpointError, listed
from ..networks.family import Family, Shapes, Stated
from ..networks.registry import FAMILIES

PREFIXES = ("", "module.", "model.", "model.module.", "module.model.")
"""What DataParallel and Lightning put before every key."""


DEQA = "deqa"
_DEQA_KEYS = (
    "lm_head.weight",
    "model.visual_abstractor.query_embeds",
    "model.vision_model.embeddings.cls_token",
    "model.layers.0.input_layernorm.multiway.0.weight",
)


@dataclass(frozen=True)
class Layout:
    """This class is a known layout. ``signature`` holds the keys that tell it from all others; ``family`` is None for DeQA-Score,
    an assessor that another module reads.
    """

    title: str
    signature: tuple[str, ...]
    family: Family | None = None

    @property
    def ignored(self) -> tuple[str, ...]:
        """Return the beginnings of the names of tensors that the network does not need."""
        return self.family.ignored if self.family is not None else ()

    def names(self) -> list[str]:
        """Return the names of the layout's tensors in its usual size, or its signature where there is no network."""
        if self.family is None:
            return list(self.signature)
        with torch.device("meta"):
            return list(self.family.network().state_dict())


LAYOUTS = {family.name: Layout(family.title, family.signature, family) for family in FAMILIES}
LAYOUTS[DEQA] = Layout("DeQA-Score", _DEQA_KEYS)


@dataclass(frozen=True)
class Found:
    """This class says what :func:`detect` found. ``family`` is a key of LAYOUTS, ``keys`` holds the file's name of each tensor by
    the network's name, and ``ignored`` the file's names of tensors that the network does not need.
    """

    family: str
    keys: dict[str, str]
    ignored: tuple[str, ...]


def _words(keys) -> set[str]:
    """Return the parts of dotted names, without numbers, "weight" and "bias"."""
    return {word for key in keys for word in key.split(".") if not word.isdigit() and word not in ("weight", "bias")}


def _differences(shapes: Shapes, layout: Layout, found: Found) -> list[str]:
    """Return in words what keeps tensors of these shapes from being this layout; the list is empty if nothing does."""
    own = {name: tuple(shapes[key]) for name, key in found.keys.items()}
    missing = [key for key in layout.signature if key not in own]
    expected: dict[str, tuple[int, ...]] = {}
    build = layout.family.build if layout.family is not None else None
    if build is not None and not missing:
        try:
            with torch.device("meta"):
                expected = {key: tuple(value.shape) for key, value in build(own, Stated(), nn).state_dict().items()}
        except KeyError as problem:
            missing = [str(problem.args[0])]
        except (ValueError, IndexError, RuntimeError, ZeroDivisionError) as problem:
            return [f"impossible sizes ({problem})"]
    lacking = missing or [key for key in expected if key not in own]
    surplus = [found.keys[key] for key in own if key not in expected] if expected else []
    if missing:  # sizes are unknown: a key is unexpected if no word of the layout's is in it
        known = _words(layout.names())
        surplus = [found.keys[key] for key in own if not _words([key]) & known]
    odd = [
        f"{key} {list(own[key])} instead of {list(expected[key])}" for key in expected if key in own and own[key] != expected[key]
    ]
    said = (("missing", lacking), ("unexpected", surplus), ("wrong shape", odd))
    return [f"{what}: {listed(keys)}" for what, keys in said if keys]


def detect(shapes: Shapes) -> Found:
    """Return the layout of tensors with these names and shapes. Raises :class:`CheckpointError` that says what differs."""
    candidates = [
        (family, prefix)
        for family, layout in LAYOUTS.items()
        for prefix in PREFIXES
        if all(prefix + key in shapes for key in layout.signature)
    ]
    if candidates:
        family, prefix = candidates[0]
    else:
        if not shapes:
            raise CheckpointError("no tensors; the file is empty or incomplete: download it again")
        words = _words(shapes)

        def likeness(family: str) -> float:
            own = _words(LAYOUTS[family].names())
            return len(own & words) / len(own | words)

        family = max(LAYOUTS, key=likeness)
        starts = {p: sum(key.startswith(p) for key in shapes) for p in PREFIXES}
        prefix = max((p for p in PREFIXES if starts[p] == len(shapes)), key=len, default="")
    layout = LAYOUTS[family]
    ignored = tuple(
        key for key in shapes if key.startswith(layout.ignored) or key.removeprefix(prefix).startswith(layout.ignored)
    )
    dropped = set(ignored)
    found = Found(family, {key.removeprefix(prefix): key for key in shapes if key not in dropped}, ignored)
    differences = _differences(shapes, layout, found)
    if differences:
        raise CheckpointError(
            f"not a known model; nearest layout: {layout.title}, but {'; '.join(differences)}. "
            "Choose a file of a known layout, or download this one again"
        )
    return found
