"""``python -m adaqual_training.corpus``: build the corpus."""

from .build import main

raise SystemExit(main())
