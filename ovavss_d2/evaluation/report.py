"""Reports of an evaluation: tables in the log, and JSON, CSV and Markdown files.

All figures here are in percent.
"""

import csv
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from ovavss_d2.evaluation.bootstrap import LEVEL, REPLICATES
from ovavss_d2.evaluation.confusion import intersection_over_union, pixel_counts
from ovavss_d2.evaluation.metrics import FIGURES, PROTOCOLS, StreamingMetrics
from ovavss_d2.files import atomic_path, write_json

logger = logging.getLogger(__name__)

_TITLES = {  # the first one is the data set's `protocol_name`
    "avss": "AVSS (TPAVI): per frame, background is a class",
    "avss_released": "AVSS, variant of the released OV-AVSS: true background ignored",
}
_CLASS_KEYS = ("id", "name", "group", "iou", "avss_iou", "f", "frames")
INTERVAL_NOTE = (
    f"In brackets: {LEVEL:.0%} interval over videos (Poisson bootstrap, {REPLICATES} replicates)."
)


def results(
    total: StreamingMetrics,
    by_subset: dict[str, StreamingMetrics],
    dataset_name: str,
    metadata: Any,
) -> dict[str, Any]:
    """Collect all reported figures.

    Args:
        total: metrics of the whole data set.
        by_subset: metrics of each subset.
        dataset_name: registered name of the data set.
        metadata: its entry in `MetadataCatalog`.

    Returns:
        `dataset`, `protocol_name`; for the whole data set `videos`, `frames`, the figures by
        protocol (`PROTOCOLS`), `intervals` (low, high) of AVSBench-OV's figures, and `per_class`: a
        list of dicts (`id`, `name`, `group`; `iou` by AVSBench-OV; `avss_iou`, `f` by AVSS;
        `frames` with the class in their truth); `per_subset`: the same for each subset.
    """
    return {
        "dataset": dataset_name,
        "protocol_name": metadata.protocol_name,
        **_section(total, metadata),
        "per_subset": {subset: _section(part, metadata) for subset, part in by_subset.items()},
    }


def _section(metrics: StreamingMetrics, metadata: Any) -> dict[str, Any]:
    groups = tuple(metadata.base_ids), tuple(metadata.novel_ids)
    figures = {
        protocol: {name: 100 * value for name, value in values.items()}
        for protocol, values in metrics.figures(*groups).items()
    }
    intervals = metrics.bootstrap.intervals(*groups)
    return {
        "videos": metrics.videos,
        "frames": metrics.frames,
        **figures,
        "intervals": {name: [100 * low, 100 * high] for name, (low, high) in intervals.items()},
        "per_class": _per_class(metrics, metadata),
    }


def _per_class(metrics: StreamingMetrics, metadata: Any) -> list[dict[str, Any]]:
    iou = intersection_over_union(pixel_counts(metrics.matrix))
    absent = metrics.avss.frames == 0
    avss_iou, f = (np.where(absent, np.nan, values) for values in metrics.avss.per_class())
    rows = []
    for i, name in enumerate(("background", *metadata.names)):
        group = "background" if i == 0 else "base" if i in metadata.base_ids else "novel"
        ratios = (100 * float(values[i]) for values in (iou, avss_iou, f))
        values = (i, name, group, *ratios, int(metrics.true_frames[i]))
        rows.append(dict(zip(_CLASS_KEYS, values, strict=True)))
    return rows


def log(results: dict[str, Any]) -> None:
    """Log the tables."""
    logger.info("Per class on %s:\n%s", results["dataset"], class_table(results))
    logger.info("Per subset on %s:\n%s", results["dataset"], subset_table(results))
    logger.info("%s:\n%s\n%s", _title(results), summary_table(results), INTERVAL_NOTE)


def write(results: dict[str, Any], folder: Path) -> None:
    """Write `results.json`, `results.md`, `figures.csv` and `per_class.csv` to `folder`."""
    write_json(folder / "results.json", results)
    with atomic_path(folder / "results.md") as temporary:
        temporary.write_text(markdown(results), encoding="utf-8")
    sections = {"all": results, **results["per_subset"]}
    _write_csv(folder / "figures.csv", _figure_rows(sections))
    _write_csv(folder / "per_class.csv", _class_rows(sections))


def markdown(results: dict[str, Any]) -> str:
    """The tables with headings."""
    parts = (
        f"## {_title(results)}\n\n{summary_table(results)}\n\n{INTERVAL_NOTE}",
        f"### By subset\n\n{subset_table(results)}",
        f"### By class\n\n{class_table(results)}",
    )
    return "\n\n".join(parts) + "\n"


def _title(results: dict[str, Any]) -> str:
    return (
        f"{results['dataset']}: {results['videos']} videos, {results['frames']} frames, in percent"
    )


def summary_table(results: dict[str, Any]) -> str:
    """A Markdown table with one row per protocol."""
    return _table(_protocol_rows(results, results), ("protocol", *FIGURES), text_columns=1)


def subset_table(results: dict[str, Any]) -> str:
    """A Markdown table with one row per subset and protocol."""
    rows = [
        [subset, title, part["videos"], part["frames"], *cells]
        for subset, part in results["per_subset"].items()
        for title, *cells in _protocol_rows(part, results)
    ]
    header = ("subset", "protocol", "videos", "frames", *FIGURES)
    return _table(rows, header, text_columns=2)


def _protocol_rows(section: dict[str, Any], results: dict[str, Any]) -> list[list[str]]:
    titles = {"avsbench_ov": results["protocol_name"], **_TITLES}
    return [[titles[protocol], *_cells(section, protocol)] for protocol in PROTOCOLS]


def _cells(section: dict[str, Any], protocol: str) -> list[str]:
    """A protocol's figures, with their intervals if it has any."""
    cells = []
    for name in FIGURES:
        cell = _cell(section[protocol].get(name))
        interval = _intervals(section, protocol).get(name)
        if interval and cell != "-":
            cell += " [{}, {}]".format(*map(_cell, interval))
        cells.append(cell)
    return cells


def _intervals(section: dict[str, Any], protocol: str) -> dict[str, Sequence[float]]:
    return section["intervals"] if protocol == "avsbench_ov" else {}


def class_table(results: dict[str, Any]) -> str:
    """A Markdown table with one row per class."""
    rows = [
        [row["name"], row["group"], *map(_cell, (row["iou"], row["avss_iou"], row["f"]))]
        + [row["frames"]]
        for row in results["per_class"]
    ]
    header = ("class", "group", "IoU", "AVSS IoU", "AVSS F", "frames")
    return _table(rows, header, text_columns=2)


def _table(rows: list[list], header: Sequence[str], text_columns: int) -> str:
    align = ["left"] * text_columns + ["right"] * (len(header) - text_columns)
    return tabulate(rows, header, "pipe", disable_numparse=True, colalign=align)


def _cell(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.2f}"


def _figure_rows(sections: dict[str, dict]) -> Iterable[Sequence]:
    """A header, then one row per subset, protocol and figure."""
    yield "subset", "videos", "frames", "protocol", "figure", "value", "low", "high"
    for subset, part in sections.items():
        for protocol in PROTOCOLS:
            for name, value in part[protocol].items():
                interval = _intervals(part, protocol).get(name, (None, None))
                yield subset, part["videos"], part["frames"], protocol, name, value, *interval


def _class_rows(sections: dict[str, dict]) -> Iterable[Sequence]:
    """A header, then one row per subset and class."""
    yield "subset", *_CLASS_KEYS
    for subset, part in sections.items():
        for row in part["per_class"]:
            yield subset, *(row[key] for key in _CLASS_KEYS)


def _write_csv(path: Path, rows: Iterable[Sequence]) -> None:
    """Write rows; cells that are None or NaN are empty."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for row in rows:
            writer.writerow("" if cell is None or cell != cell else cell for cell in row)
