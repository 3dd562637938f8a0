"""Importing this makes the folder benchmarks importable, without the repository's root on Python's path.

The root must not be there, because ComfyUI has a module that is called nodes, as our folder is.
"""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

if "benchmarks" not in sys.modules:
    spec = importlib.util.spec_from_file_location("benchmarks", ROOT / "benchmarks" / "__init__.py")
    sys.modules["benchmarks"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["benchmarks"])
