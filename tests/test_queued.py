"""The sums of the benchmark of a long queue. The benchmark itself needs a server and many minutes."""

import benchmark_package  # noqa: F401  it makes the next import possible
import pytest

from benchmarks.queued import Reading, change, main


def readings(megabytes, count: int = 100) -> list[Reading]:
    """Readings over an hour, evenly spaced; ``megabytes`` gives the memory at a share of it."""
    return [Reading(3600 * i / count, megabytes(i / count), False) for i in range(count)]


def test_what_grows_only_at_first_is_flat():
    found = change(readings(lambda share: 500 if share < 0.1 else 1000), 3600)
    assert (found["growth"], found["slope, MB per hour"], found["MB at most"]) == (0, 0, 1000)


def test_steady_growth_is_seen():
    found = change(readings(lambda share: 1000 + 100 * share), 3600)
    assert found["slope, MB per hour"] == pytest.approx(100) and found["growth"] == pytest.approx(80 / 1015, abs=0.001)


def test_one_peak_is_reported_but_is_no_growth():
    found = change(readings(lambda share: 2000 if share == 0.5 else 1000), 3600)
    assert found["growth"] == 0 and found["MB at most"] == 2000


def test_too_short_runs_are_refused_before_anything_starts(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--minutes", "1"])
    assert "--minutes 1 is too short" in capsys.readouterr().err
    with pytest.raises(ValueError, match="give --minutes more"):
        change(readings(lambda share: 1000, 3), 3600)
