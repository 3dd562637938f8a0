"""The corpus of clean photos: its sources, the selection of photos, and the committed list."""
