"""This module runs the command line for ``python -m adaqual_core``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
