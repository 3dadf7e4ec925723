"""The best and the worst videos of a data set, kept in constant memory."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ovavss_d2.evaluation.confusion import intersection_over_union, mean_over_present

KEPT = 6  # videos at either end
FRAMES_KEPT = 5  # of a video, evenly spaced


@dataclass(frozen=True)
class FrameCase:
    """A frame to look at: its file, and its true and predicted ids, uint8 (H, W)."""

    file_name: str
    truth: np.ndarray
    prediction: np.ndarray


@dataclass(frozen=True)
class VideoCase:
    """A video to look at.

    Attributes:
        score: its own IoU, see `video_score`.
        video_id: its name.
        names: what sounds in it; None where nobody says.
        frames: some of its frames.
    """

    score: float
    video_id: str
    names: tuple[str, ...] | None
    frames: tuple[FrameCase, ...]


def video_score(matrix: np.ndarray) -> float:
    """Mean IoU over the objects' classes that a video's truth or prediction has.

    Args:
        matrix: confusion matrix (K, K) of the video.

    Returns:
        In 0..1; nan where nothing sounds and nothing is painted.
    """
    return mean_over_present(intersection_over_union(matrix)[1:])


class Extremes:
    """The `KEPT` best and worst videos so far; of equal ones those whose names come first."""

    def __init__(self):
        self.best: list[VideoCase] = []
        self.worst: list[VideoCase] = []

    def offer(self, score: float, video_id: str, make_case: Callable[[], VideoCase]) -> None:
        """Take a video in if it belongs to either end; only then `make_case` is called."""
        if math.isnan(score):
            return
        fits_best = _fits(self.best, (-score, video_id), _best_first)
        fits_worst = _fits(self.worst, (score, video_id), _worst_first)
        if fits_best or fits_worst:
            self._take([make_case()])

    def merge(self, other: "Extremes") -> None:
        """Take in what another one has kept."""
        self.best = sorted([*self.best, *other.best], key=_best_first)[:KEPT]
        self.worst = sorted([*self.worst, *other.worst], key=_worst_first)[:KEPT]

    def _take(self, cases: list[VideoCase]) -> None:
        self.best = sorted([*self.best, *cases], key=_best_first)[:KEPT]
        self.worst = sorted([*self.worst, *cases], key=_worst_first)[:KEPT]


def _fits(kept: list[VideoCase], key: tuple[float, str], order: Callable) -> bool:
    return len(kept) < KEPT or key < order(kept[-1])


def _best_first(case: VideoCase) -> tuple[float, str]:
    return -case.score, case.video_id


def _worst_first(case: VideoCase) -> tuple[float, str]:
    return case.score, case.video_id
