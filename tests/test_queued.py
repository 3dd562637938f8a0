"""The sums of the benchmark of a long queue. The benchmark itself needs a server and many minutes."""

import benchmark_package  # noqa: F401  it makes the next import possible
import pytest

from benchmarks.queued import Reading, change, main


def readings(resident, in_use=lambda share: 300, count: int = 100) -> list[Reading]:
    """Readings over an hour, evenly spaced; ``resident`` and ``in_use`` give the memory at a share of it."""
    return [Reading(3600 * i / count, resident(i / count), in_use(i / count), False) for i in range(count)]


def growths(found: dict) -> tuple[float, float]:
    return found["growth since 10 %"], found["growth since half"]


def test_what_grows_only_at_first_is_flat():
    found = change(readings(lambda share: 500 if share < 0.1 else 1000), "resident", 3600)
    assert growths(found) == (0, 0) and (found["slope, MB per hour"], found["MB at most"]) == (0, 1000)


def test_what_grows_only_in_the_first_half_is_flat_since_half():
    early, late = growths(change(readings(lambda share: 1000 + 200 * min(share, 0.5)), "resident", 3600))
    assert early == pytest.approx(100 / 1000 - 0.03, abs=0.01) and late == 0


def test_steady_growth_is_seen():
    found = change(readings(lambda share: 1000 + 100 * share), "resident", 3600)
    assert found["slope, MB per hour"] == pytest.approx(100) and found["growth since 10 %"] == pytest.approx(80 / 1015, abs=0.001)
    assert found["growth since half"] == pytest.approx(40 / 1055, abs=0.001)


def test_one_peak_is_reported_but_is_no_growth():
    found = change(readings(lambda share: 2000 if share == 0.5 else 1000), "resident", 3600)
    assert growths(found) == (0, 0) and found["MB at most"] == 2000


def test_memory_in_use_is_told_from_what_the_library_keeps():
    found = readings(lambda share: 1000 + 100 * share, lambda share: 300)
    assert growths(change(found, "in_use", 3600)) == (0, 0)


def test_too_short_runs_are_refused_before_anything_starts(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--minutes", "1"])
    assert "--minutes 1 is too short" in capsys.readouterr().err
    with pytest.raises(ValueError, match="give --minutes more"):
        change(readings(lambda share: 1000, count=3), "resident", 3600)
