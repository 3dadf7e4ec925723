#!/usr/bin/env python3
"""Write the toy world from a seed.

Usage: python datasets/prepare_toy.py [--root ROOT] [--train 4000 --val 60 --test 240] [--seed 0]
"""

import argparse
import os

from ovavss_d2.data.toy import SPLITS, write_toy


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", default=os.environ.get("DETECTRON2_DATASETS", "datasets"))
    parser.add_argument("--train", type=int, default=4000, help="training clips")
    parser.add_argument("--val", type=int, default=60, help="validation clips")
    parser.add_argument("--test", type=int, default=240, help="test clips, a third for each view")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--size", type=int, nargs=2, default=(72, 96), metavar=("HEIGHT", "WIDTH"))
    return parser.parse_args()


def main():
    args = parse_args()
    counts = {split: getattr(args, split) for split in SPLITS}
    write_toy(args.root, counts, seed=args.seed, size=tuple(args.size), workers=args.workers)


if __name__ == "__main__":
    main()
