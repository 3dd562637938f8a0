"""This package makes quality maps: it holds the assessors, and the map itself with everything that is done to it."""
