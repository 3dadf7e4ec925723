"""What an evaluation leaves: tables in the log, and as JSON, CSV and Markdown.

All figures here are in per cent.
"""

import csv
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from ovavss_d2.evaluation.bootstrap import LEVEL, REPLICATES
from ovavss_d2.evaluation.confusion import StreamingMetrics, intersection_over_union
from ovavss_d2.files import atomic_path, write_json

logger = logging.getLogger(__name__)

PROTOCOLS = ("avsbench_ov", "avss", "avss_released")
FIGURES = ("mIoU", "base", "novel", "harmonic", "F")
ALL_SUBSETS = "all"
_AVSS_TITLES = {
    "avss": "AVSS (TPAVI): per frame, background is a class",
    "avss_released": "AVSS, variant of the released OV-AVSS: true background ignored",
}
INTERVAL_NOTE = (
    f"In brackets: {LEVEL:.0%} interval over videos "
    f"(Poisson bootstrap keyed by the video's name, {REPLICATES} replicates)."
)


def results(
    total: StreamingMetrics,
    by_subset: dict[str, StreamingMetrics],
    dataset_name: str,
    metadata: Any,
) -> dict[str, Any]:
    """Collect everything that is reported.

    Args:
        total: metrics of the whole data set.
        by_subset: the same by subset.
        dataset_name: the data set's registered name.
        metadata: its entry of `MetadataCatalog`.

    Returns:
        `dataset`, `protocol_name`, and of the whole: `videos`, `frames`; figures by protocol
        (`PROTOCOLS`); `intervals` of AVSBench-OV's (pairs low, high); `per_class`: a list of dicts
        (`id`, `name`, `group`; `iou` by AVSBench-OV; `avss_iou`, `f` by AVSS; `frames` with the
        class in their truth); `per_subset`: the same of each subset.
    """
    return {
        "dataset": dataset_name,
        "protocol_name": metadata.protocol_name,
        **_section(total, metadata),
        "per_subset": {subset: _section(part, metadata) for subset, part in by_subset.items()},
    }


def _section(metrics: StreamingMetrics, metadata: Any) -> dict[str, Any]:
    groups = (tuple(metadata.base_ids), tuple(metadata.novel_ids))
    figures = {
        protocol: {name: 100 * value for name, value in values.items()}
        for protocol, values in metrics.figures(*groups).items()
    }
    intervals = metrics.bootstrap.intervals(*groups)
    return {
        "videos": metrics.videos,
        "frames": metrics.frames,
        **figures,
        "intervals": {name: [100 * end for end in ends] for name, ends in intervals.items()},
        "per_class": _per_class(metrics, metadata),
    }


def _per_class(metrics: StreamingMetrics, metadata: Any) -> list[dict[str, Any]]:
    iou = intersection_over_union(metrics.matrix)
    absent = metrics.avss.frames == 0
    avss_iou, f = (np.where(absent, np.nan, values) for values in metrics.avss.per_class())
    base = set(metadata.base_ids)
    return [
        {
            "id": i,
            "name": name,
            "group": "background" if i == 0 else "base" if i in base else "novel",
            "iou": 100 * float(iou[i]),
            "avss_iou": 100 * float(avss_iou[i]),
            "f": 100 * float(f[i]),
            "frames": int(metrics.true_frames[i]),
        }
        for i, name in enumerate(("background", *metadata.names))
    ]


def log(results: dict[str, Any]) -> None:
    """Log the tables."""
    logger.info("Per class on %s:\n%s", results["dataset"], class_table(results))
    logger.info("Per subset on %s:\n%s", results["dataset"], subset_table(results))
    logger.info(
        "%s: %d videos, %d frames, in per cent\n%s\n%s",
        results["dataset"],
        results["videos"],
        results["frames"],
        summary_table(results),
        INTERVAL_NOTE,
    )


def summary_table(results: dict[str, Any]) -> str:
    """One row per protocol, each under its own name: they are not comparable. Markdown."""
    titles = {"avsbench_ov": results["protocol_name"], **_AVSS_TITLES}
    rows = [[titles[protocol], *_cells(results, protocol)] for protocol in PROTOCOLS]
    return _table(rows, ("protocol", *FIGURES), words=1)


def subset_table(results: dict[str, Any]) -> str:
    """One row per subset and protocol. Markdown."""
    titles = {"avsbench_ov": results["protocol_name"], **_AVSS_TITLES}
    rows = [
        [subset, titles[protocol], part["videos"], part["frames"], *_cells(part, protocol)]
        for subset, part in results["per_subset"].items()
        for protocol in PROTOCOLS
    ]
    return _table(rows, ("subset", "protocol", "videos", "frames", *FIGURES), words=2)


def _cells(section: dict[str, Any], protocol: str) -> list[str]:
    """A protocol's figures, those of AVSBench-OV with their intervals."""
    intervals = section["intervals"] if protocol == "avsbench_ov" else {}
    cells = []
    for name in FIGURES:
        cell = _cell(section[protocol].get(name))
        if name in intervals and cell != "-":
            low, high = map(_cell, intervals[name])
            cell += f" [{low}, {high}]"
        cells.append(cell)
    return cells


def class_table(results: dict[str, Any]) -> str:
    """One row per class: IoU of the AVSBench-OV protocol, IoU and F of the AVSS protocol, frames
    with the class. Markdown."""
    rows = [
        [
            row["name"],
            row["group"],
            *(_cell(row[key]) for key in ("iou", "avss_iou", "f")),
            row["frames"],
        ]
        for row in results["per_class"]
    ]
    return _table(rows, ("class", "group", "IoU", "AVSS IoU", "AVSS F", "frames"), words=2)


def _table(rows: list[list], header: Sequence[str], words: int) -> str:
    """A Markdown table whose columns after the first `words` hold numbers."""
    align = ["left"] * words + ["right"] * (len(header) - words)
    return tabulate(rows, header, "pipe", disable_numparse=True, colalign=align)


def _cell(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.2f}"


def write(results: dict[str, Any], folder: Path) -> None:
    """Write `results.json`, `results.md`, `figures.csv` and `per_class.csv` into `folder`, each
    whole or not at all."""
    write_json(folder / "results.json", results)
    with atomic_path(folder / "results.md") as temporary:
        temporary.write_text(markdown(results), encoding="utf-8")
    sections = {ALL_SUBSETS: results, **results["per_subset"]}
    _write_csv(folder / "figures.csv", _figure_rows(sections))
    _write_csv(folder / "per_class.csv", _class_rows(sections))


def markdown(results: dict[str, Any]) -> str:
    """The tables with headings, ready to paste."""
    title = f"## {results['dataset']}: {results['videos']} videos, {results['frames']} frames"
    parts = (
        f"{title}\n\n{summary_table(results)}\n\nIn per cent. {INTERVAL_NOTE}",
        f"### By subset\n\n{subset_table(results)}",
        f"### By class\n\n{class_table(results)}",
    )
    return "\n\n".join(parts) + "\n"


def _figure_rows(sections: dict[str, dict]) -> Iterable[Sequence]:
    """A header, then a row per subset, protocol and figure; empty where it is undefined."""
    yield "subset", "videos", "frames", "protocol", "figure", "value", "low", "high"
    for subset, part in sections.items():
        for protocol in PROTOCOLS:
            intervals = part["intervals"] if protocol == "avsbench_ov" else {}
            for name, value in part[protocol].items():
                ends = intervals.get(name, (None, None))
                yield subset, part["videos"], part["frames"], protocol, name, value, *ends


def _class_rows(sections: dict[str, dict]) -> Iterable[Sequence]:
    """A header, then a row per subset and class; empty where a figure is undefined."""
    keys = ("id", "name", "group", "iou", "avss_iou", "f", "frames")
    yield "subset", *keys
    for subset, part in sections.items():
        for row in part["per_class"]:
            yield subset, *(row[key] for key in keys)


def _write_csv(path: Path, rows: Iterable[Sequence]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for row in rows:
            writer.writerow("" if cell is None or cell != cell else cell for cell in row)
