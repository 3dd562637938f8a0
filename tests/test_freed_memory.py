"""Freed memory goes back to the system."""

import re
import subprocess
import sys

import pytest

PROGRAM = """
import re, torch
from adaqual_core.freed_memory import return_freed_memory
held = lambda: int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
pieces = [torch.ones(16_000) for _ in range(4_000)]  # each smaller than what glibc maps by itself
pieces = pieces[::50]  # pieces in use stay between those that are freed
freed = held()
return_freed_memory()
print(freed, held(), sum(float(piece.sum()) for piece in pieces))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps freed memory in this way")
def test_freed_pieces_between_pieces_in_use_go_back_to_the_system():
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    before, after, total = (float(number) for number in re.split(r"\s+", said.strip()))
    assert total == 80 * 16_000
    assert before - after > 150  # of 250 MB that were freed


def test_systems_without_glibc_are_left_alone(monkeypatch):
    from adaqual_core import freed_memory

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(freed_memory.ctypes, "CDLL", lambda name: pytest.fail("no library is opened there"))
    freed_memory.return_freed_memory()
