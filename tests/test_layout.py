"""The layers of adaqual_core: nothing imports upward or in a circle, and no assessor brings a restorer with it."""

import ast
from functools import cache
from pathlib import Path

import pytest
from comfy_server import REPOSITORY

CORE = REPOSITORY / "adaqual_core"

LAYERS = (
    ("kinds", "errors", "grid", "filters", "console"),
    ("checks", "image_statistics", "weight_files", "imageio"),
    ("damage", "evaluate"),
    ("quality",),
    ("prompt", "steer", "choice"),
    ("networks",),
    ("sampling",),
    ("published",),
    ("video",),
    ("cli", "__main__"),
)
"""Modules and folders from the ground up; those of one layer may use each other where that makes no circle."""

RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def dotted(path: Path) -> str:
    """The name of a module below adaqual_core, as "quality.map"; a folder's own name for its __init__.py."""
    parts = path.relative_to(CORE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(path): path for path in sorted(CORE.rglob("*.py"))}


@cache
def imports(module: str) -> frozenset[str]:
    """The modules of adaqual_core that a module imports, at its head or inside functions."""
    path, found = MODULES[module], set()
    package = list(path.relative_to(CORE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) + 1 - node.level] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                inner = ".".join([*base, alias.name])
                found.add(inner if inner in MODULES else ".".join(base))
    return frozenset(found - {""})


def reached(module: str) -> set[str]:
    """All modules that importing one brings with it, itself included."""
    seen, ahead = set(), [module]
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            ahead += imports(name)
    return seen


@pytest.mark.parametrize("module", [name for name in MODULES if name])
def test_nothing_imports_upward(module):
    above = {name for name in imports(module) if RANK[name.split(".")[0]] > RANK[module.split(".")[0]]}
    assert not above, f"{module} imports {', '.join(sorted(above))} from a layer above its own"


def test_the_core_knows_nothing_of_comfyui_and_of_training():
    lazy = {"cli"}  # `adaqual train` looks for the training package when it is called
    for module, path in MODULES.items():
        outside = {"comfy", "comfy_api", "comfy_execution", "folder_paths", "nodes", "adaqual_core"}
        outside |= set() if module in lazy else {"adaqual_training"}
        named = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                named |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                named.add(node.module.split(".")[0])
        assert not named & outside, f"{module} imports {', '.join(sorted(named & outside))}"


def test_nothing_imports_in_a_circle():
    circles = [name for name in MODULES if any(name in reached(other) for other in imports(name))]
    assert not circles


@pytest.mark.parametrize("module", [name for name in MODULES if name.split(".")[0] == "quality"])
def test_judging_a_picture_brings_no_restorer(module):
    assert not {name for name in reached(module) if name.split(".")[0] in ("prompt", "networks", "sampling", "published")}


def test_every_folder_is_a_package_that_says_what_it_holds():
    for path in CORE.rglob("*.py"):
        assert (path.parent / "__init__.py").is_file(), f"{path.parent.name} has no __init__.py, so that installing leaves it out"
    for name in ("quality", "quality.deqa", "networks", "sampling", "published", "steer"):
        assert ast.get_docstring(ast.parse(MODULES[name].read_text(encoding="utf-8")))


def test_the_reader_of_imports_sees_what_there_is():
    assert "grid" in imports("quality.map") and "quality.map" in imports("prompt")
    assert "networks.denoiser" in reached("cli")
