"""The quality map: what makes it, and what it is."""
