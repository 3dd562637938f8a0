"""This package is AdaQual without ComfyUI. These functions restore a picture; each is imported when it is first used.

:func:`read_picture` and :func:`write_picture` for files, :func:`open_assessor` and :func:`assess` for the quality map,
:func:`build_prompt` for what is to be restored, :func:`load_restorer` and :func:`restore` for the restoration.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .imageio import read_picture, write_picture
    from .prompt import build_prompt
    from .published.read import load_restorer
    from .quality.assess import assess, open_assessor
    from .sampling.restore import restore

__all__ = ["assess", "build_prompt", "load_restorer", "open_assessor", "read_picture", "restore", "write_picture"]

_PLACES = {
    "assess": "quality.assess",
    "build_prompt": "prompt",
    "load_restorer": "published.read",
    "open_assessor": "quality.assess",
    "read_picture": "imageio",
    "restore": "sampling.restore",
    "write_picture": "imageio",
}


def __getattr__(name: str) -> Any:
    """Return one of the functions in ``__all__``, from the module that holds it (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(f".{_PLACES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
