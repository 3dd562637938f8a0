"""Wrong usage and help."""

import os
import sys

import pytest
from command_line import fails
from lacking import needs_training

from adaqual_core import cli


@pytest.mark.parametrize(
    "option, value",
    [
        ("--steps", "0"),
        ("--steps", "1001"),
        ("--steps", "two"),
        ("--seed", "-1"),
        ("--seed", str(2**64)),
        ("--schedule", "karras"),
        ("--preserve", "0"),
        ("--preserve", "nan"),
        ("--strength", "1.1"),
        ("--strength", "nan"),
        ("--tile", "10"),
        ("--overlap", "-1"),
        ("--device", "abacus"),
        ("--device", "cpu:7"),
        ("--device", ""),
        ("--unknown", "1"),
    ],
)
def test_options_out_of_range_are_usage_errors(adaqual, option, value):
    result = adaqual("restore", "a.png", "b.png", option, value, models=False)
    fails(result, option, status=2)
    assert not os.path.exists("b.png")


@pytest.mark.parametrize(
    "argv, message",
    [
        ("", "required: COMMAND"),
        ("paint", "invalid choice: 'paint'"),
        ("restore", "required: IN, OUT"),
        ("restore a.png", "required: OUT"),
        ("quality", "required: IN"),
        ("degrade a.png b.png", "required: --kinds"),
        ("degrade a.png b.png --kinds fog", "--kinds: fog; choose from low, "),
        ("degrade a.png b.png --kinds ,", "--kinds: none given; choose from low, "),
        ("degrade a.png b.png --kinds haze --severity 1.5", "--severity: 1.5; give a number, 0 to 1"),
        ("degrade a.png b.png --kinds haze --severity nan", "--severity: nan; give a number, 0 to 1"),
        ("degrade a.png b.png --kinds haze --seed -1", "--seed: -1; give a whole number, 0 to"),
        ("evaluate --clean x", "required: --degraded"),
        ("evaluate --clean x --degraded y --steps 0", "--steps: 0; give a whole number, 1 to 1000"),
        pytest.param("train everything", "required: --recipe", marks=needs_training),
        pytest.param("train", "required: --recipe", marks=needs_training),
    ],
)
def test_wrong_usage(capsys, argv, message):
    fails((cli.main(argv.split()), *capsys.readouterr()), message, status=2)


@pytest.mark.parametrize(
    "command",
    [
        *([], ["restore"], ["quality"], ["degrade"], ["evaluate"], ["convert"], ["golden"]),
        pytest.param(["train"], marks=needs_training),
    ],
)
def test_help(capsys, command):
    with pytest.raises(SystemExit) as end:
        cli.main([*command, "--help"])
    assert end.value.code == 0 and "usage: adaqual" in capsys.readouterr().out


@needs_training
def test_training_needs_the_training_package(capsys, monkeypatch):
    for name in ("adaqual_training", "adaqual_training.__main__"):  # None: as if it were not installed
        monkeypatch.setitem(sys.modules, name, None)
    fails((cli.main(["train", "assessor"]), *capsys.readouterr()), "clone the repository", status=2)
