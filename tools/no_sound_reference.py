#!/usr/bin/env python3
"""How far sight alone could get on the toy world: every visible object painted, sounding or not.

Masks and names are the true ones, so this bounds what can be reached without listening.

Usage: python tools/no_sound_reference.py [--dataset toy_ov_test_all ...] [--root ROOT]
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch

from ovavss_d2.data.catalog import DatasetCatalog, datasets_root
from ovavss_d2.errors import one_line_errors
from ovavss_d2.evaluation.evaluator import AVSSEvaluator
from ovavss_d2.vocabulary import TOY_NAMES

TEST_SETS = (
    "toy_ov_test_all",
    "toy_ov_test_base",
    "toy_ov_test_novel_silent",
    "toy_ov_test_novel_sounding",
)
COLUMNS = ("mIoU", "base", "novel", "harmonic")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", nargs="+", default=TEST_SETS, help="registered toy data sets")
    parser.add_argument("--root", help="folder of the data sets (default: DETECTRON2_DATASETS)")
    return parser.parse_args()


def reference(dataset):
    """Figures in per cent, by the AVSBench-OV protocol, on a registered data set."""
    visible = Path(datasets_root()) / "toy" / "visible"
    evaluator = AVSSEvaluator(dataset)
    for record in DatasetCatalog.get(dataset):
        with np.load(visible / f"{record['video_id']}.npz") as file:
            labels = torch.from_numpy(file["ids"].astype(np.int32))
        evaluator.process([record], [{"label_map": labels, "names": TOY_NAMES}])
    return evaluator.evaluate()["avsbench_ov"]


@one_line_errors()
def main():
    """Print one row per data set."""
    args = parse_args()
    if args.root:
        os.environ["DETECTRON2_DATASETS"] = args.root
    print("| no-sound reference | " + " | ".join(COLUMNS) + " |")
    print("|:---|" + "---:|" * len(COLUMNS))
    for dataset in args.dataset:
        figures = reference(dataset)
        cells = ("-" if figures[c] != figures[c] else f"{figures[c]:.2f}" for c in COLUMNS)
        print(f"| {dataset} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
