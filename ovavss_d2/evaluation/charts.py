"""Charts of an evaluation: IoU of every class, and what is taken for what.

Shape letter: K classes, background (0) included.
"""

from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

GROUP_COLORS = {
    "background": "#999999",
    "base": "#0072b2",
    "novel": "#e69f00",
}  # apart for all eyes
PAIRS = 15  # of each kind in the confusion chart


def class_chart(results: dict[str, Any]) -> Figure:
    """Draw the classes' IoU as bars, best first within base and novel, with each group's mean as a
    line.

    Args:
        results: as `report.results` makes them.
    """
    groups = {group: _bars(results["per_class"], group) for group in ("base", "novel")}
    count = sum(len(bars) for bars in groups.values())
    figure, axes = _figure(8, 1.6 + 0.2 * max(count, 8))
    names: list[str] = []
    for group, bars in groups.items():
        places = range(len(names), len(names) + len(bars))
        names += [f"{bar['name']} ({bar['frames']})" for bar in bars]
        mean = results["avsbench_ov"][group]
        label = f"{group}: {mean:.2f}" if mean == mean else group
        axes.barh(places, [bar["iou"] for bar in bars], color=GROUP_COLORS[group], label=label)
        if bars:
            axes.vlines(mean, places[0] - 0.5, places[-1] + 0.5, "black", "dashed", linewidth=1)
    axes.set_xlim(0, 100)
    _finish(axes, names, "IoU in per cent (in brackets: frames with the class)")
    axes.set_title(f"{results['dataset']}: {results['protocol_name']}", fontsize=10)
    axes.legend(loc="lower right")
    return figure


def _bars(per_class: list[dict[str, Any]], group: str) -> list[dict[str, Any]]:
    """Rows of a group that have a pixel in truth or prediction, best first."""
    rows = [row for row in per_class if row["group"] == group and row["iou"] == row["iou"]]
    return sorted(rows, key=lambda row: (-row["iou"], row["id"]))


def confused_pairs(matrix: np.ndarray, *, background: bool) -> list[tuple[int, int, int]]:
    """The pairs of classes that are most often confused.

    Args:
        matrix: confusion matrix (K, K), rows are true classes.
        background: pairs with background on either side (missed, or painted where nothing sounds)
            instead of those of two objects.

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
    pairs = (np.unravel_index(place, wrong.shape) for place in order)
    return [(int(i), int(j), int(wrong[i, j])) for i, j in pairs if wrong[i, j]]


def confusion_chart(matrix: np.ndarray, results: dict[str, Any]) -> Figure:
    """Draw the most confused pairs: objects taken for others, and objects missed or made up."""
    figure, panels = _figure(13, 1.4 + 0.24 * PAIRS, columns=2)
    kinds = {"one object for another": False, "missed, or painted on background": True}
    for axes, (title, background) in zip(panels, kinds.items(), strict=True):
        pairs = confused_pairs(matrix, background=background)
        colors = [_pair_color(i, j, results["per_class"]) for i, j, _ in pairs]
        thousands = [pixels / 1000 for *_, pixels in pairs]
        axes.barh(range(len(pairs)), thousands, color=colors)
        for place, (i, j, pixels) in enumerate(pairs):
            axes.text(pixels / 1000, place, " " + _share(matrix, i, j), va="center", fontsize=7)
        names = [row["name"] for row in results["per_class"]]
        axes.margins(x=0.25)
        axes.set_xlim(left=0)
        labels = [f"{names[i]} \N{RIGHTWARDS ARROW} {names[j]}" for i, j, _ in pairs]
        _finish(axes, labels, "thousands of pixels (frames at 224 x 224)")
        axes.set_title(title, fontsize=10)
    title = f"{results['dataset']}: true \N{RIGHTWARDS ARROW} predicted"
    figure.suptitle(f"{title}  (blue: base, orange: novel object)", fontsize=11)
    return figure


def _pair_color(true: int, predicted: int, per_class: list[dict[str, Any]]) -> str:
    """Colour of the group of the pair's object: the true one, unless that is background."""
    return GROUP_COLORS[per_class[true or predicted]["group"]]


def _share(matrix: np.ndarray, true: int, predicted: int) -> str:
    """How much of the class a pair is: of the true one's pixels, or of what is painted."""
    pixels = matrix[true, predicted]
    if true == 0:
        return f"{100 * pixels / matrix[:, predicted].sum():.0f}% of what is painted"
    return f"{100 * pixels / matrix[true].sum():.0f}%"


def _figure(width: float, height: float, columns: int = 1):
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns)


def _finish(axes, names: list[str], label: str) -> None:
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(max(len(names), 1) - 0.4, -0.6)
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)
