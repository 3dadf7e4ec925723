"""Pictures of an evaluation: charts, and a page of the best and the worst videos."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ovavss_d2.evaluation import charts
from ovavss_d2.evaluation.best_worst import FRAMES_KEPT, Extremes, VideoCase
from ovavss_d2.files import atomic_path
from ovavss_d2.media.drawing import PAPER, pad, paint_ids, resize_ids, text_line, thumbnail

CELL = (96, 128)  # height and width of a frame on the page
_GAP = 12
_CHART_DPI = 110


def write(
    matrix: np.ndarray, extremes: Extremes, results: dict[str, Any], metadata: Any, folder: Path
) -> None:
    """Write `per_class.png`, `confusion.png` and `best_worst.png`, each whole or not at all.

    Args:
        matrix: confusion matrix (K, K) of the whole data set.
        extremes: its best and worst videos.
        results: as `report.results` makes them.
        metadata: the data set's entry of `MetadataCatalog`.
        folder: where they go.
    """
    figures = {
        "per_class.png": charts.class_chart(results),
        "confusion.png": charts.confusion_chart(matrix, results),
    }
    for name, figure in figures.items():
        with atomic_path(folder / name) as temporary:
            figure.savefig(temporary, dpi=_CHART_DPI)
    with atomic_path(folder / "best_worst.png") as temporary:
        Image.fromarray(best_worst_page(extremes, metadata)).save(temporary)


def best_worst_page(extremes: Extremes, metadata: Any) -> np.ndarray:
    """Draw the best videos on the left and the worst on the right: uint8 (H, W, 3).

    Of each video the upper row shows the truth, the lower one the prediction. A video that is among
    the best is not shown among the worst.
    """
    best = {case.video_id for case in extremes.best}
    sides = {
        "Best videos (truth above, prediction below)": extremes.best,
        "Worst videos": [case for case in extremes.worst if case.video_id not in best],
    }
    columns = [_column(title, cases, metadata) for title, cases in sides.items()]
    height = max(column.shape[0] for column in columns)
    gap = np.full((height, _GAP, 3), PAPER, np.uint8)
    best_column, worst_column = (pad(column, (height, column.shape[1])) for column in columns)
    return np.concatenate([best_column, gap, worst_column], axis=1)


def _column(title: str, cases: list[VideoCase], metadata: Any) -> np.ndarray:
    width = FRAMES_KEPT * CELL[1]
    parts = [text_line(title, width, 15)]
    for case in cases:
        rows = [_row(case, metadata, predicted) for predicted in (False, True)]
        parts += [text_line(_caption(case, metadata), width), *rows]
        parts.append(np.full((_GAP, width, 3), PAPER, np.uint8))
    return np.concatenate(parts)


def _caption(case: VideoCase, metadata: Any) -> str:
    names = ("background", *metadata.names)
    ids = {int(i) for frame in case.frames for i in np.unique(frame.prediction)} - {0}
    painted = ", ".join(names[i] for i in sorted(ids)) or "nothing"
    truth = {int(i) for frame in case.frames for i in np.unique(frame.truth)} - {0}
    true = ", ".join(names[i] for i in sorted(truth)) or "nothing"
    return f"{100 * case.score:.1f}  {case.video_id}: {true}; painted: {painted}"


def _row(case: VideoCase, metadata: Any, predicted: bool) -> np.ndarray:
    palette = np.asarray(metadata.stuff_colors, np.uint8)
    cells = []
    for frame in case.frames:
        picture = thumbnail(frame.file_name, CELL)
        ids = resize_ids(frame.prediction if predicted else frame.truth, picture.shape[:2])
        cells.append(pad(paint_ids(picture, ids, palette), CELL))
    blank = np.full((*CELL, 3), PAPER, np.uint8)
    return np.concatenate([*cells, *[blank] * (FRAMES_KEPT - len(cells))], axis=1)
