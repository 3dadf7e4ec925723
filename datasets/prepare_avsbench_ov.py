"""Check AVSBench-semantic and make the lists of videos and objects that the data sets read.

    python datasets/prepare_avsbench_ov.py [ROOT] [--workers N]

With the authors' AVSBench-openvoc folder beside ROOT, their files are used as they are and the
test list is added to them. Without it, a split of our own is made in AVSBench-derived beside ROOT.
See datasets/README.md.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ovavss_d2.data.catalog import datasets_root  # noqa: E402
from ovavss_d2.data.openvoc import add_authors_test, derive_openvoc_split  # noqa: E402
from ovavss_d2.vocabulary import AVSBENCH_BASE_IDS, AVSBENCH_NAMES  # noqa: E402


def parse_arguments():
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
    return parser.parse_args()


def main():
    """Make the lists and print what was found."""
    args = parse_arguments()
    authors = args.root.parent / "AVSBench-openvoc"
    if authors.is_dir():
        out = authors
        report = add_authors_test(authors, args.root, AVSBENCH_NAMES, args.workers)
    else:
        out = args.root.parent / "AVSBench-derived"
        report = derive_openvoc_split(
            args.root, out, AVSBENCH_NAMES, AVSBENCH_BASE_IDS, args.workers
        )
    print(f"{out}\n{report}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
