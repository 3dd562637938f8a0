"""This package is the sampler: it goes from a picture and its prompt to the restored picture."""
