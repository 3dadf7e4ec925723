#!/usr/bin/env python3
"""Check weight files before a model is built: what each is, and whether it is whole.

    python tools/check_weights.py weights/*
    python tools/check_weights.py --config-file configs/ovavss_swin.yaml

With a config, the files that it names are checked. No file is executed. Ends with 1 if something is
wrong.
"""

import argparse
import sys

from ovavss_d2.config import load_config
from ovavss_d2.errors import one_line, one_line_errors
from ovavss_d2.weights.layouts import PARTS
from ovavss_d2.weights.report import check_file


def parse_arguments(arguments=None):
    """What the user asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", help="weight files")
    parser.add_argument("--config-file", help="check the files that this config names")
    args = parser.parse_args(arguments)
    if not args.files and not args.config_file:
        parser.error("name a file, or a config")
    return args


def files_of(config_file):
    """(path, config key) of the weight files that a config names."""
    cfg = load_config(config_file)
    yield cfg.MODEL.WEIGHTS, "MODEL.WEIGHTS"
    for part in PARTS:
        yield cfg.MODEL[part.key].WEIGHTS, f"MODEL.{part.key}.WEIGHTS"


def show(path, key):
    """Print what is to be said about one file; whether it is whole."""
    try:
        report = check_file(path, key)
    except (OSError, ValueError) as error:
        print(f"{path}\n  WRONG: {one_line(error)}")
        return False
    print("\n  ".join([path, *report.lines, *(f"WRONG: {line}" for line in report.problems)]))
    return not report.problems


@one_line_errors()
def run(arguments=None):
    """The command line."""
    args = parse_arguments(arguments)
    files = [(path, "") for path in args.files]
    if args.config_file:
        files += [(path, key) for path, key in files_of(args.config_file) if path]
    whole = [show(path, key) for path, key in files]
    if not all(whole):
        sys.exit(1)


if __name__ == "__main__":
    run()
