"""This package reads and writes picture files as arrays, without torch: what a file holds (``header``), its frames (``reading``),
everything beside the pixels (``metadata``), writing it back in the same way (``writing``), and the pictures of folders
(``folders``).

Nothing of a file is lost without a word: what cannot be read is refused, and what the format of the output cannot hold is named.
"""
