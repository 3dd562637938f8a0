"""This module is ``adaqual train``. The training package comes with a source checkout (``make setup``), and only there."""

import sys

from .messages import UsageError
from .parser import Parser


def train(argv: list[str]) -> int:
    """Train with the options in ``argv`` and return exit status 0.

    Raises :class:`UsageError` where there is no training package, or where Python is too old for it.
    """
    if sys.version_info < (3, 11):
        raise UsageError(f"train: needs Python 3.11 or newer to read recipes, but this is {sys.version.split()[0]}; install one")
    try:
        from adaqual_training.__main__ import add_arguments, run
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "adaqual_training":
            raise
        raise UsageError("train: needs the training package; clone the repository and run make setup first") from None

    parser = Parser(prog="adaqual train", description="Train a restorer or an assessor; runs are resumable.")
    add_arguments(parser)
    run(parser.parse_args(argv))
    return 0
