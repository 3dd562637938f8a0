"""This package is DeQA-Score (arXiv 2501.11561), the paper's quality assessor, in plain torch: mPLUG-Owl2 and five levels."""
