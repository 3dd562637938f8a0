"""The layers of the repository: nothing imports upward or in a circle, and no assessor brings a restorer with it."""

import ast
from functools import cache
from pathlib import Path

import pytest
from comfy_server import REPOSITORY

CORE = REPOSITORY / "adaqual_core"

BELOW = {
    "adaqual_core": (),
    "nodes": ("adaqual_core",),
    "adaqual_training": ("adaqual_core",),
    "benchmarks": ("adaqual_core", "adaqual_training"),
}
"""The packages of the repository, and which others each may import."""

LAYERS = (
    ("kinds", "errors", "grid", "filters", "console", "default_dtype"),
    ("pictures",),
    ("checks", "image_statistics", "alignment", "visible", "weight_files", "imageio"),
    ("damage", "evaluate"),
    ("quality",),
    ("prompt", "steer", "choice"),
    ("networks",),
    ("sampling",),
    ("published",),
    ("video",),
    ("cli", "__main__"),
)
"""Modules and folders of adaqual_core from the ground up; those of one layer may use each other where that makes no circle."""

RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def dotted(path: Path) -> str:
    """The name of a module of the repository, as "adaqual_core.quality.map"; a folder's own name for its __init__.py."""
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(path): path for package in BELOW for path in sorted((REPOSITORY / package).rglob("*.py"))}
CORE_MODULES = [name for name in MODULES if name.startswith("adaqual_core.")]


@cache
def tree(module: str) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@cache
def named(module: str) -> frozenset[str]:
    """All modules that a module imports, ours and others, at its head or inside functions, by their full names."""
    path, found = MODULES[module], set()
    package = list(path.relative_to(REPOSITORY).parts[:-1])
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                inner = ".".join([*base, alias.name])
                found.add(inner if inner in MODULES else ".".join(base))
    return frozenset(found - {""})


@cache
def imports(module: str) -> frozenset[str]:
    """The modules of the repository that a module imports, without the packages' own __init__.py."""
    return frozenset(name for name in named(module) if name in MODULES and name not in BELOW)


def reached(module: str) -> set[str]:
    """All modules that importing one brings with it, itself included."""
    seen, ahead = set(), [module]
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            ahead += imports(name)
    return seen


def rank(module: str) -> int:
    """The layer of a module of adaqual_core."""
    return RANK[module.split(".")[1]]


@pytest.mark.parametrize("module", CORE_MODULES)
def test_nothing_imports_upward(module):
    above = {name for name in imports(module) if name in CORE_MODULES and rank(name) > rank(module)}
    assert not above, f"{module} imports {', '.join(sorted(above))} from a layer above its own"


def of(package: str) -> list[str]:
    """The modules of a package of the repository."""
    return [name for name in MODULES if name.split(".")[0] == package]


@pytest.mark.parametrize("package", list(BELOW))
def test_a_package_imports_only_those_below_it(package):
    for module in of(package):
        others = {name.split(".")[0] for name in imports(module)} - {package, *BELOW[package]}
        if module.startswith("adaqual_core.cli"):  # `adaqual train` looks for the training package when it is called
            at_head = [node.module or "" for node in tree(module).body if isinstance(node, ast.ImportFrom)]
            assert not any(name.startswith("adaqual_training") for name in at_head)
            others -= {"adaqual_training"}
        assert not others, f"{module} imports {', '.join(sorted(others))}"


COMFYUI = {
    "app",
    "comfy",
    "comfy_api",
    "comfy_api_nodes",
    "comfy_execution",
    "comfy_extras",
    "execution",
    "folder_paths",
    "latent_preview",
    "node_helpers",
    "nodes",
    "server",
}
"""Modules that ComfyUI puts on Python's path."""


@pytest.mark.parametrize("package", ["adaqual_core", "adaqual_training"])
def test_core_and_training_know_nothing_of_comfyui(package):
    for module in of(package):
        theirs = {name for name in named(module) if name.split(".")[0] in COMFYUI}
        assert not theirs, f"{module} imports {', '.join(sorted(theirs))}"


@pytest.mark.parametrize("package", list(BELOW))
def test_nothing_imports_in_a_circle(package):
    circles = [name for name in of(package) if any(name in reached(other) for other in imports(name))]
    assert not circles


@pytest.mark.parametrize("module", [name for name in CORE_MODULES if name.split(".")[1] == "quality"])
def test_judging_a_picture_brings_no_restorer(module):
    restorers = ("prompt", "networks", "sampling", "published")
    assert not {name for name in reached(module) if name in CORE_MODULES and name.split(".")[1] in restorers}


def test_every_folder_is_a_package_that_says_what_it_holds():
    for path in CORE.rglob("*.py"):
        assert (path.parent / "__init__.py").is_file(), f"{path.parent.name} has no __init__.py, so that installing leaves it out"
    for name in ("quality", "quality.deqa", "networks", "sampling", "published", "steer"):
        assert ast.get_docstring(tree(f"adaqual_core.{name}"))


def test_every_function_of_a_node_is_annotated():
    for module in of("nodes"):
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.FunctionDef):
                found = node.args
                given = [*found.posonlyargs, *found.args, *found.kwonlyargs, found.vararg, found.kwarg]
                bare = [one.arg for one in given if one and one.annotation is None and one.arg not in ("self", "cls")]
                assert not bare and node.returns is not None, f"{module}.{node.name}: {', '.join(bare) or 'its result'}"


def test_the_reader_of_imports_sees_what_there_is():
    core = "adaqual_core"
    assert f"{core}.grid" in imports(f"{core}.quality.map") and f"{core}.quality.map" in imports(f"{core}.prompt")
    assert f"{core}.networks.restorer" in reached(f"{core}.cli.restore")
    assert {f"{core}.prompt", "nodes.common"} <= imports("nodes.prompting") and "comfy.samplers" in named("nodes.guider")
    assert f"{core}.errors" in reached("benchmarks.published") and "adaqual_training.run" in imports("benchmarks.throughput")
