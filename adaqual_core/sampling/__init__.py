"""The sampler: from a picture and its prompt to the restored picture."""
