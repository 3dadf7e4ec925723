"""Metrics of the three protocols, accumulated frame by frame in constant memory.

Pixel counts are integers, and the ratios that AVSS sums over frames are summed as integers too. So
all sums are exact, and the order of the frames and their distribution over processes do not matter.

Shape letters: K classes including background (0), H W pixels of a frame.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from ovavss_d2.evaluation.bootstrap import VideoBootstrap
from ovavss_d2.evaluation.confusion import (
    avsbench_ov_figures,
    confusion_matrix,
    f_score,
    intersection_over_union,
    pixel_counts,
)

PROTOCOLS = ("avsbench_ov", "avss", "avss_released")
FIGURES = ("mIoU", "base", "novel", "harmonic", "F")
_ONE = 1 << 40  # a ratio of 1 as an integer; sums of 8 million frames fit into int64


class FrameRatios:
    """IoU and F of every frame, averaged per class: the AVSS (TPAVI) protocol.

    With `ignore_background`, the variant in OV-AVSS's released code: background is not a class, and
    predictions on true background are ignored.
    """

    def __init__(self, num_classes: int, *, ignore_background: bool = False):
        self.ignore_background = ignore_background
        self.iou = np.zeros(num_classes, np.int64)  # sums over frames, in units of 1 / _ONE
        self.f = np.zeros(num_classes, np.int64)
        self.frames = np.zeros(num_classes, np.int64)  # with the class in truth or prediction

    def add(self, matrix: np.ndarray) -> None:
        """Add the confusion matrix (K, K) of a frame."""
        if self.ignore_background:
            matrix = matrix.copy()
            matrix[0] = 0
        counts = pixel_counts(matrix)
        present = (counts[1] + counts[2]) > 0
        if self.ignore_background:
            present[0] = False
        iou = np.nan_to_num(intersection_over_union(counts))
        self.iou += np.rint(iou * present * _ONE).astype(np.int64)
        self.f += np.rint(f_score(counts) * present * _ONE).astype(np.int64)
        self.frames += present

    def merge(self, other: "FrameRatios") -> None:
        """Add the frames of another instance."""
        self.iou += other.iou
        self.f += other.f
        self.frames += other.frames

    def per_class(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean IoU and F per class over its frames, float64 (K,); 0 for a class without frames."""
        scale = np.maximum(self.frames, 1) * float(_ONE)
        return self.iou / scale, self.f / scale

    def figures(self) -> dict[str, float]:
        """`mIoU` and `F` in 0..1: means over all K classes; classes without frames count as 0."""
        iou, f = self.per_class()
        return {"mIoU": float(iou.mean()), "F": float(f.mean())}


class StreamingMetrics:
    """Metrics of the frames so far, by all protocols."""

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self.matrix = np.zeros((num_classes, num_classes), np.int64)
        self.true_frames = np.zeros(num_classes, np.int64)  # frames with the class in the truth
        self.avss = FrameRatios(num_classes)
        self.avss_released = FrameRatios(num_classes, ignore_background=True)
        self.bootstrap = VideoBootstrap(num_classes)
        self.videos = 0
        self.frames = 0

    def add_video(self, video_id: str, frames: Iterable[Sequence[np.ndarray]]) -> np.ndarray:
        """Add a video's frames, each as the arguments of `add_frame`.

        Returns:
            The video's confusion matrix, int64 (K, K).
        """
        matrix, frames_before = np.zeros_like(self.matrix), self.frames
        for frame in frames:
            matrix += self.add_frame(*frame)
        if self.frames > frames_before:
            self.videos += 1
            self.bootstrap.add(video_id, pixel_counts(matrix))
        return matrix

    def add_frame(
        self, truth: np.ndarray, prediction: np.ndarray, all_truth: np.ndarray | None = None
    ) -> np.ndarray:
        """Add a frame.

        Args:
            truth: true ids, integers (H, W), without classes that the video's metadata do not name.
            prediction: predicted ids, integers (H, W).
            all_truth: true ids including such classes, which the AVSS protocol counts; None: there
                are none.

        Returns:
            The frame's confusion matrix by the AVSBench-OV protocol, int64 (K, K).
        """
        matrix = confusion_matrix(truth, prediction, self.num_classes)
        self.matrix += matrix
        self.true_frames += matrix.any(axis=1)
        self.avss_released.add(matrix)
        if all_truth is None:
            self.avss.add(matrix)
        else:
            self.avss.add(confusion_matrix(all_truth, prediction, self.num_classes))
        self.frames += 1
        return matrix

    def merge(self, other: "StreamingMetrics") -> None:
        """Add the frames of another instance."""
        self.matrix += other.matrix
        self.true_frames += other.true_frames
        self.avss.merge(other.avss)
        self.avss_released.merge(other.avss_released)
        self.bootstrap.merge(other.bootstrap)
        self.videos += other.videos
        self.frames += other.frames

    def figures(
        self, base_ids: Sequence[int], novel_ids: Sequence[int]
    ) -> dict[str, dict[str, float]]:
        """Figures in 0..1 by protocol (`PROTOCOLS`)."""
        avsbench_ov = avsbench_ov_figures(pixel_counts(self.matrix), base_ids, novel_ids)
        own = {name: float(value) for name, value in avsbench_ov.items()}
        figures = (own, self.avss.figures(), self.avss_released.figures())
        return dict(zip(PROTOCOLS, figures, strict=True))
