#!/usr/bin/env python3
"""Measure times, memory, and the accuracy of faster settings; write JSON and Markdown tables.

    python -m tools.benchmark [SUITE ...] [--opts KEY VALUE ...]

Suites: variants (speed and mIoU of the classifiers; needs a trained toy model), and with random
weights stages, growth, sampling and training. "-r50" and "-swin" measure the full-size models.
"""

import argparse
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ovavss_d2.engine.memory import keep_freed_memory
from ovavss_d2.errors import one_line_errors
from ovavss_d2.toy.scene import TOY_SIZE
from tools.benchmark import accuracy, growth, report, sampling, stages, training
from tools.benchmark.timing import machine

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {name: str(ROOT / f"configs/ovavss_{name}.yaml") for name in ("toy", "R50", "swin")}
FULL_SIZE = (360, 480)
NO_FILES = ("MODEL.WEIGHTS", "", "MODEL.AUDIO.WEIGHTS", "", "MODEL.CLIP.WEIGHTS", "")
TITLES = {
    "variants": "Classifiers on the toy test set",
    "stages": "Stages of a clip, toy model, 2 queries named",
    "growth": "Growth of a clip's time, toy model",
    "sampling": "Deformable attention, reference sizes",
    "training": "A training step, toy model, 8 clips",
    "stages-r50": "Stages of a clip, R50 and ViT-B/16, 2 queries named",
    "growth-r50": "A clip by the number of named queries, R50 and ViT-B/16",
    "training-r50": "A training step, R50, 1 clip",
    "stages-swin": "Stages of a clip, Swin-B and ViT-L/14@336, 2 queries named",
    "growth-swin": "A clip by the number of named queries, Swin-B and ViT-L/14@336",
}
DEFAULT = ("variants", "stages", "growth", "sampling", "training")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        ValueError: a suite is unknown, or a number is too small.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    suites = ", ".join(TITLES)
    parser.add_argument("suites", nargs="*", help=f"{suites} (default: {' '.join(DEFAULT)})")
    parser.add_argument("--output", type=Path, default=Path("output/benchmark"), help="folder")
    parser.add_argument("--videos", type=int, help="test videos of 'variants' (default: all)")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds (default: 5)")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs")
    args = parser.parse_args(arguments)
    if unknown := [suite for suite in args.suites if suite not in TITLES]:
        raise ValueError(f"suite '{unknown[0]}' is unknown, expected some of {suites}")
    if args.repeats < 1 or (args.videos or 1) < 1:
        raise ValueError("--repeats and --videos must be at least 1")
    return args


def run_suite(suite: str, args: argparse.Namespace) -> tuple[list[dict[str, Any]], str]:
    """Run one suite; return its rows and a description of the settings."""
    kind, _, model = suite.partition("-")
    config = CONFIGS[{"": "toy", "r50": "R50", "swin": "swin"}[model]]
    size = FULL_SIZE if model else TOY_SIZE
    opts = (*NO_FILES, "MODEL.DEVICE", "cuda", *args.opts) if model else args.opts
    slow = model and not torch.cuda.is_available()
    repeats = min(args.repeats, 2) if slow else args.repeats
    frames = f"frames of {size[0]} x {size[1]}"
    if kind == "variants":
        return accuracy.compare(config, opts, videos=args.videos), "variants take turns per video"
    if kind == "stages":
        rows = stages.stages(config, opts, size=size, named=2, repeats=repeats, folder=args.output)
        return rows, f"clip of 5 {frames}, medians of up to {repeats}"
    if kind == "growth":
        axes = growth.FULL_SIZE_AXES if model else growth.AXES
        rows = growth.growth(config, opts, size=size, repeats=repeats, axes=axes)
        return rows, f"{frames}, medians of up to {repeats}"
    if kind == "sampling":
        rows = sampling.sampling(frames=5, size=FULL_SIZE, repeats=repeats)
        return rows, "5 frames of 360 x 480, 8 heads of 32 channels, 3 levels, 4 points"
    clips = 1 if model else 8
    rows = training.training(config, opts, size=size, clips=clips, repeats=repeats)
    return rows, f"{clips} clips of 5 {frames}, ms, medians of {repeats}"


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the suites and print each table when it is ready."""
    args = parse_arguments(arguments)
    if args.threads:
        torch.set_num_threads(args.threads)
    if not torch.cuda.is_available():
        keep_freed_memory()  # like train_net.py and the demo
    args.output.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("tools.benchmark").setLevel(logging.INFO)
    results = {}
    for suite in args.suites or DEFAULT:
        description, start = machine(), time.perf_counter()
        rows, settings = run_suite(suite, args)
        results[suite] = {
            "title": TITLES[suite],
            "machine": description,
            "settings": settings,
            "seconds": time.perf_counter() - start,
            "rows": rows,
        }
        print(report.section(results[suite]) + "\n", flush=True)
        report.write(args.output, results)


if __name__ == "__main__":
    main()
