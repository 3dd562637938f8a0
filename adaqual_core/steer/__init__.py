"""This package steers other models by the quality map: texts per band, masks and guidance on latents, and blending."""
