"""This package holds the networks: their layers, their sizes, and where the weights that ship lie."""
