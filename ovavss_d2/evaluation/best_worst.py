"""The best and the worst videos of a data set, kept in constant memory and drawn on a page.

Shape letters: L frames of a video, H W pixels of a frame, h w of a drawing, K classes with
background.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ovavss_d2.evaluation.confusion import intersection_over_union, mean_over_present, pixel_counts
from ovavss_d2.evaluation.previews import CELL, evenly_spaced
from ovavss_d2.files import atomic_path
from ovavss_d2.media.drawing import blank, pad, paint_classes, resize_to_fit, stack, text_box
from ovavss_d2.media.fonts import drawable_names
from ovavss_d2.media.images import read_image

MAX_VIDEOS = 6  # best ones, and as many worst ones
MAX_FRAMES = 5  # of a video, evenly spaced
_GAP = 12
_MISSING_GRAY = 96  # of frames that cannot be read


@dataclass(frozen=True)
class VideoExample:
    """A video with evenly spaced frames that have ground truth."""

    score: float  # mean IoU over the objects' classes that it has, 0 to 1; NaN if there are none
    video_id: str
    files: Sequence[str]  # of the frames
    truths: Sequence[np.ndarray]  # their class ids, uint8 (H, W)
    predictions: Sequence[np.ndarray]  # uint8 (H, W)


def make_example(
    video: dict, matrix: np.ndarray, truths: Mapping[int, np.ndarray], predictions: np.ndarray
) -> VideoExample:
    """Score a video, the model's input, by its confusion matrix (K, K), and select frames.

    `truths` are ids (H, W) by the index of their frame; predictions are ids (L, H, W).
    """
    indices = [list(truths)[i] for i in evenly_spaced(len(truths), MAX_FRAMES)]
    return VideoExample(
        score=float(mean_over_present(intersection_over_union(pixel_counts(matrix))[1:])),
        video_id=str(video["video_id"]),
        files=[video["file_names"][i] for i in indices],
        truths=[truths[i] for i in indices],
        predictions=[predictions[i].astype(np.uint8) for i in indices],
    )


class BestWorstVideos:
    """The `MAX_VIDEOS` best and worst videos so far; of equal scores, the first by name."""

    def __init__(self) -> None:
        self.best: list[VideoExample] = []
        self.worst: list[VideoExample] = []

    def add(self, *examples: VideoExample) -> None:
        """Keep the examples that are among the best or the worst; those without a score are not."""
        kept = {example.video_id: example for example in (*self.best, *self.worst, *examples)}
        scored = [example for example in kept.values() if not math.isnan(example.score)]
        self.best = sorted(scored, key=lambda x: (-x.score, x.video_id))[:MAX_VIDEOS]
        self.worst = sorted(scored, key=lambda x: (x.score, x.video_id))[:MAX_VIDEOS]

    def merge(self, other: "BestWorstVideos") -> None:
        """Add the videos of another process."""
        self.add(*other.best, *other.worst)


def write_best_worst(videos: BestWorstVideos, metadata: Any, folder: Path) -> None:
    """Write `best_worst.png`; `metadata` is the data set's entry of `MetadataCatalog`."""
    with atomic_path(folder / "best_worst.png") as temporary:
        Image.fromarray(draw_best_worst(videos, metadata)).save(temporary)


def draw_best_worst(videos: BestWorstVideos, metadata: Any) -> np.ndarray:
    """Draw the best videos on the left and the worst on the right: uint8 (h, w, 3).

    Each video has a row of true classes and a row of predicted ones below it. Videos among the best
    are not repeated among the worst.
    """
    best = {example.video_id for example in videos.best}
    worst = [example for example in videos.worst if example.video_id not in best]
    columns = [
        _draw_column("Best videos (ground truth above, prediction below)", videos.best, metadata),
        _draw_column("Worst videos", worst, metadata),
    ]
    height = max(len(column) for column in columns)
    return np.concatenate([pad(column, height, column.shape[1]) for column in columns], axis=1)


def _draw_column(title: str, examples: Sequence[VideoExample], metadata: Any) -> np.ndarray:
    palette = np.asarray(metadata.stuff_colors, np.uint8)
    rows = [text_box(title, 15)]
    for example in examples:
        true, predicted = (_class_names(x, metadata) for x in (example.truths, example.predictions))
        caption = f"{100 * example.score:.1f}  {example.video_id}: {true}; predicted: {predicted}"
        rows.append(text_box(caption, 12))
        frames = [_read_frame(path) for path in example.files]
        for maps in (example.truths, example.predictions):
            painted = (paint_classes(*x, palette) for x in zip(frames, maps, strict=True))
            rows.append(np.concatenate([pad(frame, *CELL) for frame in painted], axis=1))
        rows.append(blank(_GAP, 1))
    return stack(rows, MAX_FRAMES * CELL[1] + _GAP)


def _class_names(maps: Sequence[np.ndarray], metadata: Any) -> str:
    ids = sorted({int(i) for ids in maps for i in np.unique(ids)} - {0})
    labels = drawable_names(metadata.names)
    return ", ".join(labels[metadata.names[i - 1]] for i in ids) or "nothing"


def _read_frame(path: str) -> np.ndarray:
    """Read a frame, resized to a cell; gray if it cannot be read."""
    try:
        image = read_image(path)
    except (OSError, ValueError):
        image = np.full((*CELL, 3), _MISSING_GRAY, np.uint8)
    return resize_to_fit(image, CELL[0] - 2, CELL[1] - 2)  # a margin between frames
