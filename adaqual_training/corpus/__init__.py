"""This package makes the corpus of clean photos: it has the sources, the selection of photos, and the committed list."""
