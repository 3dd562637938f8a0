"""This module finds how much memory a device has free, as far as it can be known without further packages."""

import os
from pathlib import Path

import torch


def _cgroup_free() -> int | None:
    """Return the bytes that remain under the limit of this process's container (cgroup 2), or None without a limit.

    Cached files that the system can drop count as free.
    """
    root = Path("/sys/fs/cgroup")
    try:
        limit = (root / "memory.max").read_text().strip()
        used = int((root / "memory.current").read_text())
        counts = dict(line.split() for line in (root / "memory.stat").read_text().splitlines())
        return None if limit == "max" else int(limit) - used + int(counts.get("inactive_file", 0))
    except (OSError, ValueError):
        return None


def _host_free() -> int | None:
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        try:  # elsewhere only the machine's whole memory can be asked for
            free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, ValueError, OSError):
            return None
    limit = _cgroup_free()
    return free if limit is None else min(free, limit)


def free_bytes(device: torch.device) -> int | None:
    """Return the bytes that are free on ``device``, or None if they cannot be known; callers then refuse nothing."""
    if device.type == "cpu" or device.type == "mps":
        return _host_free()
    module = getattr(torch, device.type, None)
    if module is None or not hasattr(module, "mem_get_info"):
        return None
    return module.mem_get_info(device)[0]
