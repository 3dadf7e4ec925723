#!/usr/bin/env python3
"""Check AVSBench-semantic and make the lists of videos and objects that the data sets read.

    python datasets/prepare_avsbench_ov.py [ROOT] [--workers N]

The closed set's lists go to AVSBench-closed beside ROOT. With the authors' AVSBench-openvoc folder
there too, their files are used as they are and the test list is added to them; without it, a split
of our own is made in AVSBench-derived. See datasets/README.md.
"""

import argparse
import os
from pathlib import Path

from ovavss_d2.data.avsbench_ov import add_authors_test, check_authors_lists
from ovavss_d2.data.catalog import datasets_root
from ovavss_d2.data.split_lists import closed_lists, derived_lists, write_lists
from ovavss_d2.errors import one_line_errors
from ovavss_d2.vocabulary import AVSBENCH_BASE_IDS, AVSBENCH_NAMES


def parse_arguments(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "root",
        nargs="?",
        type=Path,
        default=Path(datasets_root(), "AVSBench-semantic"),
        help="AVSBench-semantic's folder (default: the one under DETECTRON2_DATASETS)",
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    return parser.parse_args(arguments)


@one_line_errors()
def main(arguments=None):
    """Make the lists and print what was found."""
    args = parse_arguments(arguments)
    home = args.root.absolute().parent
    lists = closed_lists(home / "AVSBench-closed")
    authors = home / "AVSBench-openvoc"
    if not authors.is_dir():
        lists += derived_lists(home / "AVSBench-derived", AVSBENCH_NAMES, AVSBENCH_BASE_IDS)
    report = write_lists(args.root, lists, AVSBENCH_NAMES, args.workers)
    if authors.is_dir():
        report.merge(add_authors_test(authors, args.root, AVSBENCH_NAMES, args.workers))
        report.merge(check_authors_lists(authors, args.root, AVSBENCH_NAMES, args.workers))
    print(f"Lists below {home}:\n{report}")


if __name__ == "__main__":
    main()
