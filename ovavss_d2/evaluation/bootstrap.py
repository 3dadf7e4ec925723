"""How far figures would move with another draw of videos: a Poisson bootstrap that streams.

In each of R replicates a video counts as often as a Poisson(1) draw says, and the draws follow from
the video's name alone. So no video has to be kept, and neither the order of the videos nor their
spread over processes changes a bit: all sums are integers.

Shape letters: R replicates, K classes, background (0) included.
"""

import zlib
from collections.abc import Sequence

import numpy as np

REPLICATES = 1000
LEVEL = 0.95  # of the intervals


def replicate_counts(video_id: str) -> np.ndarray:
    """How often a video counts in each replicate: int64 (R,), the same for the same name."""
    # RandomState's streams are frozen, those of numpy's newer generators may change.
    random = np.random.RandomState(zlib.crc32(video_id.encode()))
    return random.poisson(1.0, REPLICATES).astype(np.int64)


class VideoBootstrap:
    """Replicates of the AVSBench-OV protocol's figures over videos."""

    def __init__(self, num_classes: int):
        # per replicate and class: pixels in both, in the truth, in the prediction
        self._pixels = np.zeros((REPLICATES, 3, num_classes), np.int64)

    def add(self, video_id: str, matrix: np.ndarray) -> None:
        """Take in the confusion matrix (K, K), summed over a video's frames."""
        pixels = np.stack([np.diag(matrix), matrix.sum(1), matrix.sum(0)])
        self._pixels += replicate_counts(video_id)[:, None, None] * pixels

    def merge(self, other: "VideoBootstrap") -> None:
        """Add what another one, with the same classes, has seen."""
        self._pixels += other._pixels

    def intervals(
        self, base_ids: Sequence[int], novel_ids: Sequence[int]
    ) -> dict[str, tuple[float, float]]:
        """Percentile intervals of `LEVEL`, in 0..1, of `mIoU`, `base`, `novel` and `harmonic`.

        Replicates in which a figure is undefined, because no class of the group has a pixel, are
        left out; an interval is (nan, nan) where all are.
        """
        both, true, predicted = self._pixels.transpose(1, 0, 2)
        union = true + predicted - both
        iou = np.where(union > 0, both / np.maximum(union, 1), np.nan)
        base, novel = (_mean_over_present(iou[:, list(ids)]) for ids in (base_ids, novel_ids))
        total = base + novel
        harmonic = np.where(total == 0, 0.0, 2 * base * novel / np.where(total == 0, 1, total))
        figures = {"mIoU": _mean_over_present(iou), "base": base, "novel": novel}
        return {
            name: _interval(values) for name, values in (figures | {"harmonic": harmonic}).items()
        }


def _mean_over_present(values: np.ndarray) -> np.ndarray:
    """Means (R,) over the classes (R, K) that are not nan; nan where all are."""
    present = ~np.isnan(values)
    count = present.sum(axis=1)
    return np.where(count > 0, np.nansum(values, axis=1) / np.maximum(count, 1), np.nan)


def _interval(values: np.ndarray) -> tuple[float, float]:
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan"), float("nan")
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
