"""The command line ``adaqual``, also ``python -m adaqual_core``.

Everything that can be checked is checked before work starts, and help and wrong usage are answered without torch. Exit status: 0
success, 1 failure, 2 wrong usage, 130 interrupted; an error is one line on stderr.
"""

import importlib
import sys

from .messages import UsageError, complain
from .parser import parse


def main(argv: list[str] | None = None) -> int:
    """Run the command line with these arguments, by default the program's own, and return its exit status."""
    argv = sys.argv[1:] if argv is None else argv
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
