#!/usr/bin/env python3
"""Measure what each part of the method brings on the toy world, as one table.

    python tools/ablations.py [--output DIR] [--weights FILE] [--rows ROW ...] [--opts ...]

The whole model, and those without a part of it, are trained; other rows evaluate the whole model in
another way. A run that was broken off goes on where it was; a finished one prints its table at
once. --opts go to every row (to try it: --opts SOLVER.MAX_ITER 20 SOLVER.STEPS "(15,)").
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from ovavss_d2.config import first_data_set, load_config
from ovavss_d2.data.catalog import MetadataCatalog
from ovavss_d2.errors import one_line_errors
from ovavss_d2.files import atomic_path, write_json
from ovavss_d2.vocabulary import AVSBENCH_NAMES

REPOSITORY = Path(__file__).resolve().parent.parent
WHOLE, FIGURES = "whole model", ("base", "novel", "harmonic")


class Row(NamedTuple):
    """One line of the table: its name, what it changes, and whether it is a model of its own."""

    name: str
    options: tuple[str, ...] = ()
    trained: bool = False

    @property
    def folder(self):
        return "".join(c if c.isalnum() else "_" for c in self.name)


def rows_of(names, base_ids):
    """All rows, the whole model first."""
    base = tuple(names[i - 1] for i in base_ids)
    classifier, vocabulary = "MODEL.CLASSIFIER.NAME", "MODEL.CLASSIFIER.VOCABULARY"
    fusion_off = ("MODEL.FUSION.ENABLED", "False")
    queries_off = ("MODEL.MASK_FORMER.AUDIO_QUERIES", "False")
    return [
        Row(WHOLE, trained=True),
        *(Row(f"classifier: {name}", (classifier, name)) for name in ("crop", "query", "ensemble")),
        Row("sound: silence", ("TEST.AUDIO", "silence")),
        Row("sound: another video's", ("TEST.AUDIO", "other")),
        Row("without early fusion", fusion_off, trained=True),
        Row("without query audio", queries_off, trained=True),
        Row("without both", fusion_off + queries_off, trained=True),
        Row("vocabulary: base only", (vocabulary, str(base))),
        Row("vocabulary: all", (vocabulary, str(tuple(names)))),
        Row("vocabulary: all and 70 unrelated", (vocabulary, str((*names, *AVSBENCH_NAMES)))),
    ]


def parse_arguments(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", default=f"{REPOSITORY}/configs/ovavss_toy.yaml")
    parser.add_argument("--output", type=Path, default=Path("output/ablations"), help="kept here")
    parser.add_argument("--rows", nargs="+", help="only these, by name (default: all)")
    parser.add_argument("--weights", type=Path, help="a trained whole model, to save its training")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs")
    return parser.parse_args(arguments)


def measure(row, args):
    """Figures of a row, from its folder if it is done, else by training and evaluating."""
    folder = args.output / row.folder
    options = [*args.opts, *row.options]
    setting = {"config": str(args.config_file), "options": options}
    trains = row.trained and not (row.name == WHOLE and args.weights)
    if not trains:
        weights = args.weights or args.output / Row(WHOLE).folder / "model_final.pth"
        options += ["MODEL.WEIGHTS", str(weights)]
        setting["weights"] = [weights.stat().st_size, weights.stat().st_mtime]
    done = folder / "row.json"
    if done.is_file():
        kept = json.loads(done.read_text(encoding="utf-8"))
        if kept["setting"] == setting:
            return kept["figures"]
        if trains:
            raise ValueError(f"'{folder}' holds a row of other options: give another --output")
    run(row, folder, ["--resume"] if trains else ["--eval-only"], options, args)
    results = json.loads((folder / "inference" / "results.json").read_text(encoding="utf-8"))
    figures = {"values": results["avsbench_ov"], "intervals": results["intervals"]}
    write_json(done, {"setting": setting, "figures": figures})
    return figures


def run(row, folder, mode, options, args):
    """Run train_net.py on a row; its log stays beside the results."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(REPOSITORY / "train_net.py"), *mode]
    command += ["--config-file", str(args.config_file), *options, "OUTPUT_DIR", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    print(f"{row.name}: {'training' if '--resume' in mode else 'evaluating'} ...", flush=True)
    with open(folder / "run.log", "a", encoding="utf-8") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    if done.returncode:
        raise ValueError(f"row '{row.name}' failed: see '{folder / 'run.log'}'")


def table(measured):
    """Markdown: figures with their intervals, and how far they lie from the whole model's."""
    whole = measured.get(WHOLE, {"values": {}})["values"]
    lines = []
    for name, figures in measured.items():
        cells = [name]
        for figure in FIGURES:
            value, (low, high) = figures["values"][figure], figures["intervals"][figure]
            cell = "-" if value is None else f"{value:.2f} [{low:.2f}, {high:.2f}]"
            change = None if value is None else whole.get(figure)
            cells += [cell, "" if change is None or name == WHOLE else f"{value - change:+.2f}"]
        lines.append(cells)
    header = ("row", *(word for figure in FIGURES for word in (figure, "change")))
    align = ("left", *["right"] * (len(header) - 1))
    return tabulate(lines, header, "pipe", disable_numparse=True, colalign=align)


@one_line_errors()
def main(arguments=None):
    """Measure the rows one after the other, and write the table after each."""
    args = parse_arguments(arguments)
    metadata = MetadataCatalog.get(first_data_set(load_config(args.config_file, args.opts), "TEST"))
    rows = rows_of(metadata.names, metadata.base_ids)
    unknown = set(args.rows or ()) - {row.name for row in rows}
    if unknown:
        raise ValueError(f"no row '{min(unknown)}'; there are {', '.join(r.name for r in rows)}")
    if args.weights and not args.weights.is_file():
        raise FileNotFoundError(f"--weights '{args.weights}': no such file")
    measured = {}
    for row in rows:
        if not args.rows or row.name in (WHOLE, *args.rows):
            measured[row.name] = measure(row, args)
            with atomic_path(args.output / "ablations.md") as temporary:
                temporary.write_text(table(measured) + "\n", encoding="utf-8")
    print(table(measured))


if __name__ == "__main__":
    main()
