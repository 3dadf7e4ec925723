"""Charts of an evaluation: the IoU of each class, and the most confused classes.

Shape letter: K classes with background (0).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ovavss_d2.files import atomic_path
from ovavss_d2.media.fonts import drawable_names, font_families

GROUP_COLORS = {"background": "#999999", "base": "#0072b2", "novel": "#e69f00"}  # Okabe and Ito's
PAIRS = 15  # per panel of the confusion chart
_DPI = 110


def write_charts(matrix: np.ndarray, results: dict[str, Any], folder: Path) -> None:
    """Write `per_class.png` and `confusion.png` of a confusion matrix (K, K) and the results of
    `report.results`."""
    background, *classes = results["per_class"]
    labels = drawable_names([row["name"] for row in classes])
    classes = [{**row, "name": labels[row["name"]]} for row in classes]
    results = {**results, "per_class": [background, *classes]}
    fonts = font_families([results["dataset"], *labels.values()])
    with matplotlib.rc_context({"font.family": fonts}):
        figures = {"per_class": class_chart(results), "confusion": confusion_chart(matrix, results)}
        for name, figure in figures.items():
            with atomic_path(folder / f"{name}.png") as temporary:
                figure.savefig(temporary, dpi=_DPI)


def class_chart(results: dict[str, Any]) -> Figure:
    """Draw the IoU of the classes as bars, best first within base and novel, and the mean of each
    group as a line."""
    groups = {group: _classes_of(results["per_class"], group) for group in ("base", "novel")}
    count = sum(len(classes) for classes in groups.values())
    figure = Figure((8, 1.6 + 0.2 * max(count, 8)), layout="constrained")
    axes = figure.subplots()
    labels: list[str] = []
    for group, classes in groups.items():
        rows = range(len(labels), len(labels) + len(classes))
        labels += [f"{row['name']} ({row['frames']})" for row in classes]
        mean = results["avsbench_ov"][group]
        label = group if np.isnan(mean) else f"{group}: {mean:.2f}"
        axes.barh(rows, [row["iou"] for row in classes], color=GROUP_COLORS[group], label=label)
        if classes:
            axes.vlines(mean, rows[0] - 0.5, rows[-1] + 0.5, "black", "dashed", linewidth=1)
    axes.set_xlim(0, 100)
    axes.set_title(f"{results['dataset']}: {results['protocol_name']}", fontsize=10)
    axes.legend(loc="lower right")
    _label_axes(axes, labels, "IoU in percent (in parentheses: frames with the class)")
    return figure


def _classes_of(per_class: list[dict[str, Any]], group: str) -> list[dict[str, Any]]:
    """Classes of a group with a pixel in ground truth or prediction, best first."""
    rows = [row for row in per_class if row["group"] == group and not np.isnan(row["iou"])]
    return sorted(rows, key=lambda row: (-row["iou"], row["id"]))


def confused_pairs(matrix: np.ndarray, *, background: bool) -> list[tuple[int, int, int]]:
    """The most confused pairs of a confusion matrix (K, K), whose rows are true classes: of two
    objects, or of an object and background (missed, or painted on background).

    Returns:
        At most `PAIRS` of (true id, predicted id, pixels), most pixels first.
    """
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    if background:
        wrong[1:, 1:] = 0
    else:
        wrong[0], wrong[:, 0] = 0, 0
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [(int(i), int(j), int(wrong[i, j])) for i, j in pairs if wrong[i, j]]


def confusion_chart(matrix: np.ndarray, results: dict[str, Any]) -> Figure:
    """Draw the most confused pairs: objects confused with each other, and with background."""
    per_class = results["per_class"]
    figure = Figure((13, 1.4 + 0.24 * PAIRS), layout="constrained")
    panels = {"one object for another": False, "missed, or painted on background": True}
    for axes, (title, background) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        pairs = confused_pairs(matrix, background=background)
        # In the color of the true object, or of the predicted one on background.
        colors = [GROUP_COLORS[per_class[i or j]["group"]] for i, j, _ in pairs]
        axes.barh(range(len(pairs)), [pixels / 1000 for *_, pixels in pairs], color=colors)
        for row, (i, j, pixels) in enumerate(pairs):
            axes.text(pixels / 1000, row, " " + _share(matrix, i, j), va="center", fontsize=7)
        axes.margins(x=0.25)
        axes.set_xlim(left=0)
        axes.set_title(title, fontsize=10)
        # With a mark for left to right: the arrow would point to the first of two Arabic names.
        labels = [f"\u200e{per_class[i]['name']} → {per_class[j]['name']}" for i, j, _ in pairs]
        _label_axes(axes, labels, "thousands of pixels (frames at 224 x 224)")
    title = f"{results['dataset']}: true → predicted  (blue: base, orange: novel object)"
    figure.suptitle(title, fontsize=11)
    return figure


def _share(matrix: np.ndarray, true: int, predicted: int) -> str:
    """The share of a pair in its true class, or in its predicted class on background."""
    if true == 0:
        return f"{matrix[true, predicted] / matrix[:, predicted].sum():.0%} of the predicted"
    return f"{matrix[true, predicted] / matrix[true].sum():.0%}"


def _label_axes(axes: Axes, rows: Sequence[str], label: str) -> None:
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)
