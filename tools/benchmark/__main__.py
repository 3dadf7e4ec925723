#!/usr/bin/env python3
"""Measure times, memory and what approximations cost; write JSON, Markdown tables and a chart.

Usage: python -m tools.benchmark [SUITE ...] [--opts KEY VALUE ...]

Suites: variants (a trained toy model: speed and mIoU of every way of naming), stages and passing
(random weights), growth, sampling, training. Names with "-r50" or "-swin" run the full-size models.
"""

import argparse
import logging
import os
import time
from pathlib import Path

import torch

from ovavss_d2.engine.memory import keep_freed_memory
from ovavss_d2.errors import one_line_errors
from ovavss_d2.toy.scene import TOY_SIZE
from tools.benchmark import accuracy, growth, report, sampling, stages, training
from tools.benchmark.timing import machine

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {name: str(ROOT / f"configs/ovavss_{name}.yaml") for name in ("toy", "R50", "swin")}
FULL_SIZE = (360, 480)
COUNTS = (1, 2, 5, 10, 20, 100)
# Full-size models are timed with random weights: nothing to download.
NO_FILES = ("MODEL.WEIGHTS", "", "MODEL.AUDIO.WEIGHTS", "", "MODEL.CLIP.WEIGHTS", "")
DEFAULT = ("variants", "stages", "growth", "sampling", "stages-r50", "passing-r50", "training")
SUITES = (*DEFAULT, "passing-swin", "stages-swin", "training-r50")
TITLES = {
    "variants": "Ways of naming on the toy test set",
    "stages": "Stages of a clip, toy model, 2 queries named",
    "stages-r50": "Stages of a clip, R50 and ViT-B/16, 2 queries named",
    "stages-swin": "Stages of a clip, Swin-B and ViT-L/14@336, 2 queries named",
    "passing-r50": "A clip by the number of queries that pass, R50 and ViT-B/16",
    "passing-swin": "A clip by the number of queries that pass, Swin-B and ViT-L/14@336",
    "growth": "How a clip's time grows, toy model",
    "sampling": "Deformable attention alone, reference sizes",
    "training": "A training step, toy model, 8 clips",
    "training-r50": "A training step, R50, one clip",
}


def parse_arguments(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("suites", nargs="*", help=f"of {', '.join(SUITES)} (default: {DEFAULT})")
    parser.add_argument("--output", type=Path, default=Path("output/benchmark"), help="folder")
    parser.add_argument("--page", type=Path, help="put the tables into this Markdown file as well")
    parser.add_argument("--videos", type=int, help="of the test set in 'variants' (default: all)")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds (default: 5)")
    parser.add_argument("--threads", type=int, help="of the processor")
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="queries that pass")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs")
    args = parser.parse_args(arguments)
    if unknown := [s for s in args.suites if s not in SUITES]:
        raise ValueError(f"no suite '{unknown[0]}': expected some of {', '.join(SUITES)}")
    if args.page and not args.page.is_file():
        raise ValueError(f"no page '{args.page}': expected a Markdown file to put the tables into")
    if args.repeats < 1 or min(args.counts) < 1 or (args.videos or 1) < 1:
        raise ValueError("--repeats, --counts and --videos must be at least 1")
    return args


def rows_of(suite, args):
    """Run one suite: its rows, and in words what was run."""
    kind, _, model = suite.partition("-")
    config = CONFIGS[{"": "toy", "r50": "R50", "swin": "swin"}[model]]
    size = FULL_SIZE if model else TOY_SIZE
    opts = (*NO_FILES, "MODEL.DEVICE", "cuda", *args.opts) if model else args.opts
    slow = model and not torch.cuda.is_available()
    repeats = min(args.repeats, 2) if slow else args.repeats
    of_size = f"frames of {size[0]} x {size[1]}"
    if kind == "variants":
        return accuracy.compare(config, opts, videos=args.videos), "each video by all in turn"
    if kind == "stages":
        rows = stages.stages(
            config, opts, size=size, passing=2, repeats=repeats, folder=args.output
        )
        return rows, f"clip of 5 {of_size}, medians of up to {repeats}"
    if kind == "passing":
        rows = stages.passing_curve(
            config, opts, size=size, counts=args.counts, repeats=repeats, seconds=30
        )
        return rows, f"clip of 5 {of_size}, 70 names, medians of up to {repeats}"
    if kind == "growth":
        rows = growth.growth(config, opts, size=size, repeats=repeats)
        return rows, f"{of_size}, 12 queries named, medians of {repeats}"
    if kind == "sampling":
        rows = sampling.sampling(frames=5, size=FULL_SIZE, repeats=repeats)
        return rows, "5 frames of 360 x 480, 8 heads of 32 channels, 3 levels, 4 points"
    clips = 1 if model else 8
    rows = training.training(config, opts, size=size, clips=clips, repeats=repeats)
    return rows, f"{clips} clips of 5 {of_size}, ms, medians of {repeats}"


@one_line_errors()
def main(arguments=None):
    """Run the suites, printing each table as it is ready."""
    args = parse_arguments(arguments)
    if args.threads:
        torch.set_num_threads(args.threads)
    if not torch.cuda.is_available():
        keep_freed_memory()  # as train_net.py and the demo do
    os.makedirs(args.output, exist_ok=True)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("tools.benchmark").setLevel(logging.INFO)
    results = {}
    for suite in args.suites or DEFAULT:
        here, start = machine(), time.perf_counter()
        rows, settings = rows_of(suite, args)
        results[suite] = {
            "title": TITLES[suite],
            "machine": here,
            "settings": settings,
            "seconds": time.perf_counter() - start,
            "rows": rows,
        }
        print(report.section(results[suite]) + "\n", flush=True)
        report.write(args.output, results)
    if args.page:
        report.fill(args.page, results)


if __name__ == "__main__":
    main()
