#!/usr/bin/env python3
"""Check AVSBench-semantic and write the split lists of the AVSBench data sets.

    python datasets/prepare_avsbench_ov.py [ROOT] [--workers N]

The lists of the closed set are written to AVSBench-closed beside ROOT. If AVSBench-OV's published
folder AVSBench-openvoc is there too, it is checked and its test list is added; otherwise a derived
split is written to AVSBench-derived. See datasets/README.md.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from ovavss_d2.data.avsbench_ov import add_test_list, check_published_lists
from ovavss_d2.data.catalog import datasets_root
from ovavss_d2.data.split_lists import closed_lists, derived_lists, write_lists
from ovavss_d2.errors import one_line_errors
from ovavss_d2.vocabulary import AVSBENCH_BASE_IDS, AVSBENCH_NAMES


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
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
def main(arguments: Sequence[str] | None = None) -> None:
    """Write the lists and print a report."""
    args = parse_arguments(arguments)
    datasets = args.root.absolute().parent
    lists = closed_lists(datasets / "AVSBench-closed")
    published = datasets / "AVSBench-openvoc"
    if not published.is_dir():
        lists += derived_lists(datasets / "AVSBench-derived", AVSBENCH_NAMES, AVSBENCH_BASE_IDS)
    report = write_lists(args.root, lists, AVSBENCH_NAMES, args.workers)
    if published.is_dir():
        report.merge(add_test_list(published, args.root, AVSBENCH_NAMES, args.workers))
        report.merge(check_published_lists(published, args.root, AVSBENCH_NAMES, args.workers))
    print(f"Lists in {datasets}:\n{report}")


if __name__ == "__main__":
    main()
