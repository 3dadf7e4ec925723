#!/usr/bin/env python3
"""Print the no-sound reference of a generated data set: all visible objects, sounding or not.

Masks and names are the true ones, so this bounds the results of a model without audio. Objects that
never sound have no name, and are left out.

Usage: python tools/no_sound_reference.py [--dataset toy_ov_test_all ...] [--root ROOT]
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate

from ovavss_d2.data.catalog import DatasetCatalog, MetadataCatalog, datasets_root
from ovavss_d2.errors import one_line_errors
from ovavss_d2.evaluation.evaluator import AVSSEvaluator

GENERATED = ("toy_ov_", "stamps_ov_")
TEST_SETS = [f"toy_ov_test_{view}" for view in ("all", "base", "novel_silent", "novel_sounding")]


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--dataset",
        nargs="+",
        default=TEST_SETS,
        choices=[name for name in DatasetCatalog.list() if name.startswith(GENERATED)],
        metavar="NAME",
        help="data sets that prepare_toy.py or prepare_stamps.py made (those of the toy world)",
    )
    parser.add_argument("--root", help="folder of the data sets (default: DETECTRON2_DATASETS)")
    return parser.parse_args()


def reference(dataset: str) -> dict[str, float]:
    """Figures in percent, by the AVSBench-OV protocol, on a registered data set."""
    visible = Path(datasets_root()) / dataset.split("_")[0] / "visible"
    names = MetadataCatalog.get(dataset).names
    evaluator = AVSSEvaluator(dataset)
    for record in DatasetCatalog.get(dataset):
        with np.load(visible / f"{record['video_id']}.npz") as file:
            ids = file["ids"].astype(np.int32)
        labels = torch.from_numpy(np.where(ids > len(names), 0, ids))
        evaluator.process([record], [{"label_map": labels, "names": names}])
    results = evaluator.evaluate()
    assert results is not None  # there is one process
    return results["avsbench_ov"]


@one_line_errors()
def main() -> None:
    """Print one row per data set."""
    args = parse_args()
    if args.root:
        os.environ["DETECTRON2_DATASETS"] = args.root
    rows = [{"no-sound reference": name} | reference(name) for name in args.dataset]
    print(tabulate(rows, "keys", "pipe", floatfmt=".2f"))


if __name__ == "__main__":
    main()
