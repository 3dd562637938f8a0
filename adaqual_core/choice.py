"""This module reads kinds of damage on the command line: what is to go, what is to stay, and what is assumed."""

from collections.abc import Mapping

from .kinds import KINDS


def parse_kinds(option: str, text: str) -> tuple[str, ...]:
    """Return the kinds named in a comma-separated ``text``, in the order of KINDS; ValueError, which names ``option``, for any
    other.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in KINDS]
    if unknown or not names:
        raise ValueError(f"{option}: {', '.join(unknown) or 'none given'}; choose from {', '.join(KINDS)}, separated by commas")
    return tuple(kind for kind in KINDS if kind in names)


def parse_factors(keep: str | None, only: str | None) -> tuple[float, ...]:
    """Return how much of each kind is to go, 0 or 1, in the order of KINDS; ValueError for wrong names or for both options at
    once.

    ``keep`` names the kinds that stay, ``only`` those that go. Without either all go.
    """
    if keep is not None and only is not None:
        raise ValueError("--keep, --only: one names what stays, the other what goes; give one of them")
    if only is not None:
        wanted = parse_kinds("--only", only)
        return tuple(float(kind in wanted) for kind in KINDS)
    kept = () if keep is None else parse_kinds("--keep", keep)
    return tuple(float(kind not in kept) for kind in KINDS)


def parse_assumed(text: str | None) -> Mapping[str, float]:
    """Return the severities by kind from a text such as "haze=0.7,low=0.5", empty for None; ValueError for anything else."""
    found: dict[str, float] = {}
    for part in () if text is None else text.split(","):
        name, equals, number = part.partition("=")
        (kind,) = parse_kinds("--assume", name)
        try:
            severity = float(number)
        except ValueError:
            severity = -1.0
        if not equals or not 0 <= severity <= 1:
            raise ValueError(f"--assume: '{part.strip()}'; give a severity from 0 to 1, as in --assume {kind}=0.7")
        if kind in found:
            raise ValueError(f"--assume: {kind} is given twice; give one severity")
        found[kind] = severity
    return found
