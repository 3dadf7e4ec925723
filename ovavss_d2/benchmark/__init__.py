"""How long things take and how much memory they need; `tools/benchmark.py` is its command line."""
