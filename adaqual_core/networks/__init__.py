"""The networks: their layers, their sizes, and the weights that ship."""
