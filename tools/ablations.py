#!/usr/bin/env python3
"""Measure the contribution of each part of the method on the toy world, as one table.

    python tools/ablations.py [--output DIR] [--weights FILE] [--rows ROW ...] [--opts ...]

The full model and models without a part are trained; the other rows evaluate the full model with
other settings. An interrupted run resumes; a finished one prints its table again. --opts apply to
every row (for a quick test: --opts SOLVER.MAX_ITER 20 SOLVER.STEPS "(15,)").
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate

from ovavss_d2.config import first_data_set, load_config
from ovavss_d2.data.catalog import MetadataCatalog
from ovavss_d2.errors import one_line_errors
from ovavss_d2.files import atomic_path, read_json, write_json
from ovavss_d2.vocabulary import AVSBENCH_NAMES

REPOSITORY = Path(__file__).resolve().parent.parent
FULL, FIGURES = "full model", ("base", "novel", "harmonic")
Figures = Mapping[str, Mapping[str, Any]]


class Row(NamedTuple):
    """A row of the table: its name, the config keys that differ, and whether it is trained."""

    name: str
    options: tuple[str, ...] = ()
    trained: bool = False

    @property
    def folder(self) -> str:
        """Name of its output folder."""
        return "".join(c if c.isalnum() else "_" for c in self.name)


def all_rows(names: Sequence[str], base_ids: Sequence[int]) -> list[Row]:
    """All rows, the full model first."""
    base = tuple(names[i - 1] for i in base_ids)
    classifier, vocabulary = "MODEL.CLASSIFIER.NAME", "MODEL.CLASSIFIER.VOCABULARY"
    fusion_off = ("MODEL.FUSION.ENABLED", "False")
    queries_off = ("MODEL.MASK_FORMER.AUDIO_QUERIES", "False")
    return [
        Row(FULL, trained=True),
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


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", default=f"{REPOSITORY}/configs/ovavss_toy.yaml")
    parser.add_argument("--output", type=Path, default=Path("output/ablations"), help="folder")
    parser.add_argument("--rows", nargs="+", help="only these rows (default: all)")
    parser.add_argument("--weights", type=Path, help="a trained full model, to skip its training")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs")
    return parser.parse_args(arguments)


def measure(row: Row, args: argparse.Namespace) -> Figures:
    """Results of a row: those in its folder, or by training and evaluating it."""
    folder = args.output / row.folder
    options = [*args.opts, *row.options]
    setting = {"config": str(args.config_file), "options": options}
    trains = row.trained and not (row.name == FULL and args.weights)
    if not trains:
        weights = args.weights or args.output / Row(FULL).folder / "model_final.pth"
        options += ["MODEL.WEIGHTS", str(weights)]
        setting["weights"] = [weights.stat().st_size, weights.stat().st_mtime]
    finished = folder / "row.json"
    if finished.is_file():
        saved = read_json(finished, "remove it")
        if saved["setting"] == setting:
            return saved["figures"]
        if trains:
            raise ValueError(f"'{folder}' has results of other options: give another --output")
    run(row.name, folder, "--resume" if trains else "--eval-only", options, args.config_file)
    results = read_json(folder / "inference" / "results.json", "remove it")
    figures = {"values": results["avsbench_ov"], "intervals": results["intervals"]}
    write_json(finished, {"setting": setting, "figures": figures})
    return figures


def run(name: str, folder: Path, mode: str, options: Sequence[str], config_file: str) -> None:
    """Run train_net.py for a row; its log is written to the folder.

    Raises:
        ValueError: it failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(REPOSITORY / "train_net.py"), mode]
    command += ["--config-file", str(config_file), *options, "OUTPUT_DIR", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    print(f"{name}: {'training' if mode == '--resume' else 'evaluating'} ...", flush=True)
    with open(folder / "run.log", "a", encoding="utf-8") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    if done.returncode:
        raise ValueError(f"row '{name}' failed: see '{folder / 'run.log'}'")


def table(measured: Mapping[str, Figures]) -> str:
    """Markdown table: results with intervals, and differences from the full model."""
    full = measured.get(FULL, {"values": {}})["values"]
    lines = []
    for name, figures in measured.items():
        cells = [name]
        for figure in FIGURES:
            value, (low, high) = figures["values"][figure], figures["intervals"][figure]
            cells.append("-" if value is None else f"{value:.2f} [{low:.2f}, {high:.2f}]")
            reference = None if value is None or name == FULL else full.get(figure)
            cells.append("" if reference is None else f"{value - reference:+.2f}")
        lines.append(cells)
    header = ("row", *(word for figure in FIGURES for word in (figure, "change")))
    align = ("left", *["right"] * (len(header) - 1))
    return tabulate(lines, header, "pipe", disable_numparse=True, colalign=align)


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the rows and write the table after each."""
    args = parse_arguments(arguments)
    metadata = MetadataCatalog.get(first_data_set(load_config(args.config_file, args.opts), "TEST"))
    rows = all_rows(metadata.names, metadata.base_ids)
    unknown = set(args.rows or ()) - {row.name for row in rows}
    if unknown:
        expected = ", ".join(row.name for row in rows)
        raise ValueError(f"--rows '{min(unknown)}' is unknown, expected some of {expected}")
    if args.weights and not args.weights.is_file():
        raise FileNotFoundError(f"--weights '{args.weights}': no such file")
    measured = {}
    for row in rows:
        if not args.rows or row.name in (FULL, *args.rows):
            measured[row.name] = measure(row, args)
            with atomic_path(args.output / "ablations.md") as temporary:
                temporary.write_text(table(measured) + "\n", encoding="utf-8")
    print(table(measured))


if __name__ == "__main__":
    main()
