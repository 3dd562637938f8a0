"""The pack as a package: what may be imported from where, and what users must install."""

import ast
import hashlib
import importlib.util
import re
import socket
import sys

import pytest
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
