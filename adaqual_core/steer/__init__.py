"""Steering other models by the quality map."""
