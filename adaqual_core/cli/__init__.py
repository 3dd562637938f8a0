"""This package is the command line ``adaqual``, also ``python -m adaqual_core``.

A call checks all that it can before work starts, and answers help and wrong usage without torch. The exit status is 0 for
success, 1 for failure, 2 for wrong usage and 130 for an interrupt. An error is one line on stderr.
"""

import importlib
import sys

from ..console import open_missing_streams
from .messages import UsageError, complain
from .parser import parse


def main(argv: list[str] | None = None) -> int:
    """Run the command line with these arguments, by default the program's own, and return its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    open_missing_streams()
    try:
        if argv[:1] == ["train"]:
            from .train import train

            return train(argv[1:])
        args = parse(argv)

        from .jobs import plan  # brings Pillow, which help and wrong usage need not wait for

        planned = plan(args)
        return importlib.import_module(f".{args.command}", __package__).run(args, planned)
    except KeyboardInterrupt:
        print("adaqual: interrupted", file=sys.stderr, flush=True)
        return 130
    except UsageError as problem:
        complain(problem)
        return 2
    except Exception as problem:
        complain(problem)
        return 1
