"""The pack as a package: what may be imported from where, and what users must install."""

import ast
import hashlib
import importlib.util
import re
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from comfy_cli.file_utils import zip_files
from comfy_server import REPOSITORY, ServerError, comfyui_folder, free_port, prepare_base
from PIL import Image

PACK_FILES = ("*.py", "nodes/*.py", "adaqual_core/**/*.py")
RUNTIME = sorted(path for pattern in PACK_FILES for path in REPOSITORY.glob(pattern))


def absolute_imports(path) -> set[str]:
    """The top-level modules that a file imports absolutely."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", RUNTIME, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_the_pack_imports_itself_relatively(path):
    assert not absolute_imports(path) & {"adaqual_core", "nodes"}
    if "adaqual_core" in path.parts:
        assert not absolute_imports(path) & {"comfy", "comfy_api", "folder_paths", "comfy_execution"}


def test_the_folder_nodes_shadows_nothing():
    assert importlib.util.find_spec("nodes") is None
    assert str(REPOSITORY) not in sys.path


def test_users_are_asked_for_no_pins():
    lines = (REPOSITORY / "requirements.txt").read_text().splitlines()
    wanted = {line for line in lines if line and not line.startswith("#")}
    assert not any("==" in line for line in wanted)
    assert not any(line.startswith(("torch", "numpy", "transformers")) for line in wanted)
    project = (REPOSITORY / "pyproject.toml").read_text()
    assert "dependencies = [" + ", ".join(f'"{line}"' for line in lines if line in wanted) + "]" in project


def pack() -> ModuleType:
    """The pack's __init__.py, loaded as a tool without ComfyUI loads it."""
    spec = importlib.util.spec_from_file_location("pack_alone", REPOSITORY / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_floor_is_stated_once_in_every_file_that_tells_it():
    oldest = pack().OLDEST
    project, wanted = (REPOSITORY / "pyproject.toml").read_text(), (REPOSITORY / "requirements.txt").read_text()
    floor = (REPOSITORY / "requirements-floor.txt").read_text()
    assert f'requires-python = ">={oldest["Python"]}"' in project and f'requires-comfyui = ">={oldest["ComfyUI"]}"' in project
    assert f"Pillow>={oldest['Pillow']}" in wanted and f"torch {oldest['torch']}" in wanted
    assert f"\ntorch=={oldest['torch']}." in floor and f"\nPillow=={oldest['Pillow']}." in floor
    assert f"ComfyUI ({oldest['ComfyUI']} or newer)" in (REPOSITORY / "README.md").read_text("utf-8")


def test_python_3_10_is_enough():
    """Vermin finds every newer word, module and function in what users and `make test-floor` run."""
    program = Path(sys.executable).with_name("vermin")
    folders = ["__init__.py", "nodes", "adaqual_core", "scripts", "tests"]
    done = subprocess.run(
        [program, "--target=3.10-", "--violations", "--no-tips", "--eval-annotations", *folders],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["Python", "ComfyUI", "torch", "Pillow"])
def test_a_version_below_the_floor_is_named_with_what_is_needed(name):
    module = pack()
    assert module.too_old(module.OLDEST) == ""
    assert module.too_old({"Python": "3.13.0", "ComfyUI": "0.33.0", "torch": "2.14.1+cu130", "Pillow": "13.0.0"}) == ""
    oldest = [int(part) for part in module.OLDEST[name].split(".")]
    for place in (place for place, part in enumerate(oldest) if part):
        older = oldest.copy()
        older[place] -= 1
        for ending in ("", ".99", "+cpu", "-dev"):
            found = ".".join(map(str, older)) + ending
            said = module.too_old(module.OLDEST | {name: found})
            assert said.startswith(f"AdaQual needs {name} {module.OLDEST[name]} or newer, but this is {found}")


def loaded_by_comfyui(folder: Path, files: dict[str, str]) -> subprocess.CompletedProcess:
    """The pack's __init__.py run by a Python that finds these files, as ComfyUI's own, and has loaded folder_paths."""
    for name, content in {"folder_paths.py": "", **files}.items():
        (folder / name).write_text(content)
    program = f"import folder_paths, runpy; runpy.run_path({str(REPOSITORY / '__init__.py')!r})"
    return subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    "files, said",
    [
        ({"comfyui_version.py": "__version__ = '0.3.63'"}, "AdaQual needs ComfyUI 0.3.64 or newer, but this is 0.3.63"),
        ({}, "but this is 0.3.10 or older"),  # it does not tell its version
        ({"comfyui_version.py": "__version__ = '0.3.64'"}, ""),
        ({"comfy_api.py": ""}, ""),  # a fork that does not tell its version
    ],
)
def test_too_old_a_comfyui_is_told_so_before_any_node_is_loaded(tmp_path, files, said):
    done = loaded_by_comfyui(tmp_path, files)
    assert (done.returncode != 0) == bool(said) and said in done.stderr


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> dict[str, bytes]:
    """What the registry's own tool puts into the published archive: names and contents."""
    archive = tmp_path_factory.mktemp("published") / "pack.zip"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPOSITORY)
        zip_files(archive)
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_only_what_users_need_is_published(published):
    folders = {name.split("/")[0] for name in published if "/" in name}
    assert folders == {"adaqual_core", "locales", "nodes", "web", "workflows"}
    alone = {name for name in published if "/" not in name}
    assert alone == {"LICENSE", "README.md", "__init__.py", "pyproject.toml", "requirements.txt"}
    tracked = subprocess.run(["git", "ls-files", *folders], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert set(tracked.stdout.split()) == {name for name in published if "/" in name}  # of these folders, everything


# What scanners of the registry and of virus checkers search for, even as the name of a method.
ALARMING = re.compile(
    rb"\b(eval|exec|execfile|compile|__import__|popen|spawn\w*)\s*\(|\bos\s*\.\s*(system|exec\w*)\b|\b(subprocess|marshal|dill)\b"
    rb"|\bpickle\s*\.\s*loads?\b|weights_only\s*=\s*False|allow_pickle\s*=\s*True"
)


def test_nothing_published_alarms_a_scanner(published):
    programs = {name: content for name, content in published.items() if name.endswith((".py", ".js"))}
    assert len(programs) > 50
    found = {name: [match.group().decode() for match in ALARMING.finditer(content)] for name, content in programs.items()}
    assert {name: words for name, words in found.items() if words} == {}
    calls = re.compile(rb"\b(eval|exec|compile)\s*\(")
    texts = [name for name in published if name.endswith((".json", ".md", ".toml", ".txt"))]
    assert [name for name in texts if calls.search(published[name])] == []


def test_a_base_directory_holds_the_pack_and_the_examples(tmp_path):
    pack = tmp_path / "pack"
    (pack / "pictures").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(pack / "pictures" / "example.png")
    for _ in range(2):  # making it twice is as good as once
        prepare_base(tmp_path / "base", pack)
    assert (tmp_path / "base" / "custom_nodes" / "ComfyUI-AdaQual").resolve() == pack
    assert (tmp_path / "base" / "input" / "adaqual_example.png").is_file()


def test_a_wrong_comfyui_path_is_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(ServerError, match="Set COMFYUI_PATH"):
        comfyui_folder()


def test_a_taken_port_is_left_alone():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert free_port(taken.getsockname()[1]) != taken.getsockname()[1]


def test_a_change_of_weights_is_a_version():
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    newest = re.split(r"(?m)^## ", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"))[1]
    assert f'version = "{newest.splitlines()[0]}"' in project
    shipped = (REPOSITORY / "adaqual_core" / "weights").glob("*.safetensors")
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in shipped}
    assert dict(re.findall(r"\| `(.+?\.safetensors)` \| (\w+) \|", newest)) == hashes
