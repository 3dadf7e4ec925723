#!/usr/bin/env python3
"""Train a model, or evaluate it with --eval-only; also installed as `ovavss-train`."""

from ovavss_d2.commands.train import main, run

__all__ = ["main", "run"]

if __name__ == "__main__":
    run()
