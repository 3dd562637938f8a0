"""This package detects, reads, converts and checks published checkpoints."""
