"""The corpus of clean photos: where they come from, how they are selected, and the list that is committed."""
