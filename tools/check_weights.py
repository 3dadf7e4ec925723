#!/usr/bin/env python3
"""Check weight files: which model each belongs to, and whether it is complete and undamaged.

    python tools/check_weights.py weights/*
    python tools/check_weights.py --config-file configs/ovavss_swin.yaml

With a config, the files that it names are checked. No code in a file is executed. The exit code is
1 if a file has a problem.
"""

import argparse
import sys
from collections.abc import Sequence

from ovavss_d2.config import load_config
from ovavss_d2.errors import one_line, one_line_errors
from ovavss_d2.weights.report import check_file
from ovavss_d2.weights.sources import WeightSource, weight_sources


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", help="weight files")
    parser.add_argument("--config-file", help="check the files that this config names")
    args = parser.parse_args(arguments)
    if not args.files and not args.config_file:
        parser.error("expected weight files, or --config-file")
    return args


def print_report(source: WeightSource) -> bool:
    """Print the findings about one file; return whether it has no problem."""
    try:
        path = source.local_file()
        if path is None:
            print(f"{source.value}\n  not downloaded yet: {source.describe()}")
            return True
        report = check_file(path)
    except (OSError, ValueError) as error:
        print(f"{source.value}\n  WRONG: {one_line(error)}")
        return False
    print("\n  ".join([path, *report.lines, *(f"WRONG: {line}" for line in report.problems)]))
    return not report.problems


@one_line_errors()
def run(arguments: Sequence[str] | None = None) -> None:
    """Check all files."""
    args = parse_arguments(arguments)
    sources = [WeightSource(path, "to be checked") for path in args.files]
    if args.config_file:
        sources += weight_sources(load_config(args.config_file))
    if not all([print_report(source) for source in sources]):
        sys.exit(1)


if __name__ == "__main__":
    run()
