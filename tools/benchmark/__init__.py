"""How long things take and how much memory they need; `tools/benchmark/` is its command line."""
