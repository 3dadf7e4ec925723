"""What an evaluation leaves: tables in the log, `results.json`, a chart of the classes.

All figures here are in per cent.
"""

import logging
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tabulate import tabulate

from ovavss_d2.evaluation.confusion import StreamingMetrics, intersection_over_union
from ovavss_d2.files import atomic_path, write_json

logger = logging.getLogger(__name__)

PROTOCOLS = ("avsbench_ov", "avss", "avss_released")
_AVSS_TITLES = {
    "avss": "AVSS (TPAVI): per frame, background is a class",
    "avss_released": "AVSS, variant of the released OV-AVSS: true background ignored",
}
_GROUP_COLORS = {
    "background": "#999999",
    "base": "#0072b2",
    "novel": "#e69f00",
}  # apart for all eyes


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
        `dataset`, `protocol_name`, `videos`, `frames`; figures by protocol (`PROTOCOLS`);
        `per_class`: a list of dicts (`id`, `name`, `group`, `iou`, `f`, `frames`); `per_subset`:
        `videos`, `frames` and figures by subset.
    """
    groups = (tuple(metadata.base_ids), tuple(metadata.novel_ids))
    return {
        "dataset": dataset_name,
        "protocol_name": metadata.protocol_name,
        **_section(total, groups),
        "per_class": _per_class(total, metadata),
        "per_subset": {subset: _section(part, groups) for subset, part in by_subset.items()},
    }


def _section(metrics: StreamingMetrics, groups: tuple[tuple[int, ...], ...]) -> dict[str, Any]:
    figures = {
        protocol: {name: 100 * value for name, value in values.items()}
        for protocol, values in metrics.figures(*groups).items()
    }
    return {"videos": metrics.videos, "frames": metrics.frames, **figures}


def _per_class(total: StreamingMetrics, metadata: Any) -> list[dict[str, Any]]:
    iou = intersection_over_union(total.matrix)
    _, f = total.avss.per_class()
    base = set(metadata.base_ids)
    return [
        {
            "id": i,
            "name": name,
            "group": "background" if i == 0 else "base" if i in base else "novel",
            "iou": 100 * float(iou[i]),
            "f": 100 * float(f[i]) if total.avss.frames[i] else float("nan"),
            "frames": int(total.true_frames[i]),
        }
        for i, name in enumerate(("background", *metadata.names))
    ]


def log(results: dict[str, Any]) -> None:
    """Log the per-class table and the summary."""
    logger.info("Per class on %s:\n%s", results["dataset"], class_table(results))
    logger.info(
        "%s: %d videos, %d frames, in per cent\n%s",
        results["dataset"],
        results["videos"],
        results["frames"],
        summary_table(results),
    )


def summary_table(results: dict[str, Any]) -> str:
    """One row per protocol, each under its own name: they are not comparable. Markdown."""
    columns = ("mIoU", "base", "novel", "harmonic", "F")
    titles = {"avsbench_ov": results["protocol_name"], **_AVSS_TITLES}
    rows = [
        [titles[protocol], *(_cell(results[protocol].get(column)) for column in columns)]
        for protocol in PROTOCOLS
    ]
    return tabulate(rows, ("protocol", *columns), "pipe", disable_numparse=True)


def class_table(results: dict[str, Any]) -> str:
    """One row per class: IoU of the AVSBench-OV protocol, F of the AVSS protocol, frames with the
    class. Markdown."""
    rows = [
        [row["name"], row["group"], _cell(row["iou"]), _cell(row["f"]), row["frames"]]
        for row in results["per_class"]
    ]
    return tabulate(rows, ("class", "group", "IoU", "F", "frames"), "pipe", disable_numparse=True)


def _cell(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.2f}"


def write(results: dict[str, Any], folder: Path) -> None:
    """Write `results.json` and `per_class.png` into `folder`, each whole or not at all."""
    write_json(folder / "results.json", results)
    with atomic_path(folder / "per_class.png") as temporary:
        class_chart(results).savefig(temporary, dpi=110)
    logger.info("Results are in %s", folder)


def class_chart(results: dict[str, Any]) -> Figure:
    """Draw the classes' IoU as bars, best first within base and novel, with each group's mean as a
    line."""
    groups = {group: _bars(results["per_class"], group) for group in ("base", "novel")}
    count = sum(len(bars) for bars in groups.values())
    figure = Figure(figsize=(8, 1.6 + 0.2 * max(count, 8)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    names: list[str] = []
    for group, bars in groups.items():
        places = range(len(names), len(names) + len(bars))
        names += [f"{bar['name']} ({bar['frames']})" for bar in bars]
        label = f"{group}: {_cell(results['avsbench_ov'][group])}"
        axes.barh(places, [bar["iou"] for bar in bars], color=_GROUP_COLORS[group], label=label)
        if bars:
            mean = results["avsbench_ov"][group]
            axes.vlines(mean, places[0] - 0.5, places[-1] + 0.5, "black", "dashed", linewidth=1)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.set_xlabel("IoU in per cent (in brackets: frames with the class)")
    axes.set_title(f"{results['dataset']}: {results['protocol_name']}", fontsize=10)
    axes.legend(loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _bars(per_class: list[dict[str, Any]], group: str) -> list[dict[str, Any]]:
    """Rows of a group that have a pixel in truth or prediction, best first."""
    rows = [row for row in per_class if row["group"] == group and row["iou"] == row["iou"]]
    return sorted(rows, key=lambda row: (-row["iou"], row["id"]))
