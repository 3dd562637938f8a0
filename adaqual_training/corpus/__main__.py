"""``python -m adaqual_training.corpus`` builds the corpus."""

from .build import main

raise SystemExit(main())
