"""This package holds the benchmarks. Each is run as ``python -m benchmarks.NAME``, and its text says what it measures."""
