"""Measurements of time, memory and accuracy: `python -m tools.benchmark --help`."""
