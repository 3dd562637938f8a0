"""This module keeps scores on disk. An entry's key is made of the pixels, the weights and the settings, never of a file's
name."""

import hashlib
import json
import math
import os
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

VERSION = 1
"""Part of every key. It is raised when the same pixels, weights and settings begin to give other scores."""


def cache_key(pixels: Tensor, fingerprint: str, settings: dict) -> str:
    """Return the name of an entry: a hash of the uint8 picture [3, H, W], the weights' fingerprint and the settings."""
    head = json.dumps([VERSION, list(pixels.shape), fingerprint, settings], sort_keys=True)
    return hashlib.sha256(head.encode() + pixels.contiguous().numpy().tobytes()).hexdigest()


def _checksum(scores: Sequence[float]) -> str:
    return hashlib.sha256(json.dumps(list(scores)).encode()).hexdigest()


@dataclass(frozen=True)
class ScoreCache:
    """This class is a folder with one small JSON file per entry. It is created at the first write, and deleting it is
    harmless.
    """

    folder: Path

    def _file(self, key: str) -> Path:
        return Path(self.folder) / f"{key}.json"

    def get(self, key: str, count: int) -> list[float] | None:
        """Return the ``count`` scores of an entry, or None if there is none. A damaged entry is deleted and counts as none."""
        file = self._file(key)
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            scores = found["scores"]
            good = found["checksum"] == _checksum(scores) and len(scores) == count
            if good and all(isinstance(score, float) and math.isfinite(score) for score in scores):
                return scores
        except FileNotFoundError:
            return None
        except OSError as problem:
            warnings.warn(f"{file}: score cache not readable ({problem}); scoring again", stacklevel=2)
            return None
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        file.unlink(missing_ok=True)
        return None

    def put(self, key: str, scores: Sequence[float]) -> None:
        """Store an entry, whole or not at all. If the folder cannot be written, a warning is given and nothing else is lost."""
        text = json.dumps({"scores": list(scores), "checksum": _checksum(scores)})
        try:
            Path(self.folder).mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(suffix=".partial", dir=self.folder)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(text)
                os.replace(partial, self._file(key))
            finally:
                Path(partial).unlink(missing_ok=True)
        except OSError as problem:
            warnings.warn(f"{self.folder}: scores cannot be cached ({problem})", stacklevel=2)
