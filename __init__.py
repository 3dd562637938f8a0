"""This file is where ComfyUI begins: the pack's nodes for quality maps and the restoration that they steer (V3 API)."""

import re
import sys
from importlib.util import find_spec

WEB_DIRECTORY = "./web"
OLDEST = {"Python": "3.10", "ComfyUI": "0.3.64", "torch": "2.4", "Pillow": "9.5"}
"""The oldest versions that the nodes work with and are tested with, as stated in pyproject.toml and requirements.txt."""


def too_old(found: dict[str, str]) -> str:
    """Say which of the versions ``found``, by the names in OLDEST, are too old, and what to do; empty if none is."""

    def number(version: str) -> tuple[int, ...]:
        return tuple(int(part) for part in re.findall(r"\d+", version)[:3])

    old = [
        f"{name} {OLDEST[name]} or newer, but this is {found[name]}"
        for name in found
        if number(found[name]) < number(OLDEST[name])
    ]
    return f"AdaQual needs {'; '.join(old)}: update ComfyUI and what its requirements.txt lists" if old else ""


def refuse_old_versions() -> None:
    """Raise ImportError, which ComfyUI shows beside the pack's name, where ComfyUI or what it runs on is too old."""
    import PIL
    import torch

    found = {"Python": sys.version.split()[0], "torch": torch.__version__, "Pillow": PIL.__version__}
    if find_spec("comfyui_version"):
        from comfyui_version import __version__

        found["ComfyUI"] = __version__
    elif not find_spec("comfy_api"):  # a fork may lack the version, but none lacks this module
        found["ComfyUI"] = "0.3.10 or older"
    if problem := too_old(found):
        raise ImportError(problem)


async def comfy_entrypoint():
    """Return the extension from which ComfyUI learns the nodes. Nothing is imported before, so that tools can load this file."""
    from .nodes import AdaQualExtension

    return AdaQualExtension()


if "folder_paths" in sys.modules:  # loaded by ComfyUI; a version without the V3 API would not call comfy_entrypoint
    refuse_old_versions()
