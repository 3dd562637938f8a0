"""What texts refer to is there: files, sections, names in files, and modules."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from comfy_server import REPOSITORY

FOLDERS = (
    "adaqual_core",
    "adaqual_training",
    "benchmarks",
    "docs",
    "locales",
    "nodes",
    "pictures",
    "recipes",
    "scripts",
    "tests",
    "web",
    "workflows",
)
A_PATH = re.compile(rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)})/[\w./-]*\w(?![\w*{{]|/\*)")
A_PAGE = re.compile(r"(?<![\w/.-])[\w-]+\.md(?!\w)")
A_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)\)")
A_SECTION = re.compile(r"method\.md (?:sections? )?(\d\w?)\b")
A_NAME = re.compile(r"`([\w/]+\.py): ([\w.]+)`")
A_ROLE = re.compile(r":(?:func|class|meth|attr|data):`[~.]?([\w.]+)`")
A_MODULE = re.compile(r":mod:`~?((?:adaqual_core|adaqual_training)[\w.]*)`")


@cache
def present() -> frozenset[str]:
    """The files of the repository and the folders that hold them, without what is made by running it."""
    files = [path for path in REPOSITORY.iterdir() if path.is_file()]
    files += [path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*") if path.is_file()]
    names = {str(path.relative_to(REPOSITORY)) for path in files if "__pycache__" not in path.parts}
    return frozenset(names | {str(parent) for name in names for parent in Path(name).parents})


TEXTS = sorted(name for name in present() if name.endswith((".md", ".py", ".toml", "Makefile")))


def text_of(name: str) -> str:
    """A Markdown file or recipe as it is, of a Python file the docstrings and comments."""
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    if not name.endswith(".py"):
        return text
    strings = [
        node.value.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    return "\n".join(strings + re.findall(r"(?m)(?:^|\s)# .*$", text))


def missing_files(name: str, text: str) -> set[str]:
    """The paths, pages and links in a text that lead to no file of the repository; NAME in capitals stands for any name."""
    paths = {
        path
        for path in A_PATH.findall(text)
        if path not in present() and not any(Path(part).stem.isupper() for part in Path(path).parts)
    }
    names = {Path(file).name for file in present()}
    pages = {page for page in A_PAGE.findall(text) if page not in names}
    links = {link for link in A_LINK.findall(text) if not (REPOSITORY / name).parent.joinpath(link).exists()}
    return paths | pages | links


@cache
def names_in(path: str) -> frozenset[str]:
    """Functions, classes, their methods and fields ("Class.method"), and assigned names at the top of a Python file."""
    found: set[str] = set()
    for node in ast.parse((REPOSITORY / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
            fields = [inner.target for inner in node.body if isinstance(inner, ast.AnnAssign)]
            found |= {f"{node.name}.{field.id}" for field in fields if isinstance(field, ast.Name)}
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        for target in getattr(node, "targets", [getattr(node, "target", None)]):
            found |= {inner.id for inner in ast.walk(target) if isinstance(inner, ast.Name)} if target else set()
    return frozenset(found)


@cache
def imported_in(path: str) -> frozenset[str]:
    """The names that a Python file imports from others."""
    nodes = ast.walk(ast.parse((REPOSITORY / path).read_text(encoding="utf-8")))
    return frozenset(one.asname or one.name for node in nodes if isinstance(node, ast.ImportFrom) for one in node.names)


def is_there(name: str, path: str) -> bool:
    """Whether a docstring's reference leads to something: an error of ours, or a name in its own file or in the module named."""
    parts, own = name.split("."), names_in(path) | names_in("adaqual_core/errors.py")
    if name in own or parts[0] in imported_in(path) or any(one.endswith(f".{name}") for one in own):
        return True
    files = [file for file in present() if file.endswith(".py")]
    return any(
        f"/{file}".endswith(f"/{'/'.join(parts[:cut])}.py") and ".".join(parts[cut:]) in names_in(file)
        for cut in range(1, len(parts))
        for file in files
    )


@pytest.mark.parametrize("name", TEXTS)
def test_every_reference_leads_somewhere(name):
    text = text_of(name)
    assert not missing_files(name, text)
    sections = set(re.findall(r"(?m)^## (\d\w?)\. ", (REPOSITORY / "docs/method.md").read_text(encoding="utf-8")))
    assert set(A_SECTION.findall(text)) <= sections
    for path, inner in A_NAME.findall(text):
        assert inner in names_in(path), f"{path} holds no {inner}"
    if name.endswith(".py"):
        assert not [inner for inner in A_ROLE.findall(text) if not is_there(inner, name)]
    for module in A_MODULE.findall(text):
        file = module.replace(".", "/")
        assert {f"{file}.py", f"{file}/__init__.py"} & present(), module


def test_the_check_sees_what_it_is_for():
    text = "docs/nowhere.md, `nodes/none.py`, elsewhere.md, [this](docs/gone.jpg); runs/nano, docs/NAME.md and docs/*.md pass."
    assert missing_files("README.md", text) == {"docs/nowhere.md", "nodes/none.py", "elsewhere.md", "docs/gone.jpg"}
    assert A_SECTION.findall("(method.md section 3a) and method.md 4") == ["3a", "4"]
    path = "adaqual_core/quality/map.py"
    assert {"QualityMap", "QualityMap.cells", "QualityMap.scores", "LARGEST"} <= names_in(path)
    for known in ("cells", "QualityMap", "CELL", "sampling.ddim.ddim", "adaqual_core.prompt.Prompt.index"):
        assert is_there(known, path)
    for unknown in ("tiles", "adaqual_core.prompt.tiles", "ddim.ddim_stop", "Prompt.index"):
        assert not is_there(unknown, path)
    assert len(A_NAME.findall((REPOSITORY / "docs/method.md").read_text(encoding="utf-8"))) > 50
