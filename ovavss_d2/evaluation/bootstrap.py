"""Confidence intervals over videos, by a streaming Poisson bootstrap.

In each of R replicates a video counts as often as a Poisson(1) draw that depends on its name alone.
So no video has to be kept. All sums are integers, so the order of the videos and their distribution
over processes do not matter.

Shape letters: R replicates, K classes including background (0).
"""

import zlib
from collections.abc import Sequence

import numpy as np

from ovavss_d2.evaluation.confusion import avsbench_ov_figures

REPLICATES = 1000
LEVEL = 0.95  # of the intervals


def replicate_counts(video_id: str) -> np.ndarray:
    """How often a video counts in each replicate: int64 (R,), the same for the same name."""
    # RandomState's sequences are frozen; those of newer generators may change.
    random = np.random.RandomState(zlib.crc32(video_id.encode()))
    return random.poisson(1.0, REPLICATES).astype(np.int64)


class VideoBootstrap:
    """Replicates of the pixel counts of the AVSBench-OV protocol."""

    def __init__(self, num_classes: int):
        self._counts = np.zeros((REPLICATES, 3, num_classes), np.int64)

    def add(self, video_id: str, counts: np.ndarray) -> None:
        """Add a video's pixel counts (3, K)."""
        self._counts += replicate_counts(video_id)[:, None, None] * counts

    def merge(self, other: "VideoBootstrap") -> None:
        """Add the videos of another instance."""
        self._counts += other._counts

    def intervals(
        self, base_ids: Sequence[int], novel_ids: Sequence[int]
    ) -> dict[str, tuple[float, float]]:
        """Percentile intervals of `LEVEL`, in 0..1, of the figures of `avsbench_ov_figures`.

        Replicates without a pixel of a figure's classes are ignored; an interval is (NaN, NaN) if
        all are.
        """
        figures = avsbench_ov_figures(self._counts, base_ids, novel_ids)
        return {name: _interval(values) for name, values in figures.items()}


def _interval(values: np.ndarray) -> tuple[float, float]:
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan"), float("nan")
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
