"""Confusion matrices and the figures that the protocols make of them.

Everything derives from one confusion matrix per frame, so a test set streams through in constant
memory. Counts are integers, and the ratios that one protocol sums over frames are summed as
integers too (in units of 2^-40): the sums are exact, so the order of the frames and their spread
over processes change nothing.

Shape letters: K classes, background (0) included; H W pixels of a frame.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from ovavss_d2.evaluation.bootstrap import VideoBootstrap

RATIO_ONE = 1 << 40  # a ratio of 1 as an integer; sums of 8 million frames fit into int64
BETA_SQUARED = 0.3  # of the AVSS protocol's F


def confusion_matrix(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Count the pixels of every (true class, predicted class) pair.

    Args:
        truth: integer ids (H, W); pixels whose id is not in 0..K-1, such as the ignored 255, are
            left out.
        prediction: integer ids (H, W), in 0..K-1.
        num_classes: K.

    Returns:
        int64 (K, K), rows are true classes.

    Raises:
        ValueError: the shapes differ, or a predicted id is out of range.
    """
    if truth.shape != prediction.shape:
        raise ValueError(
            f"truth is {truth.shape}, prediction {prediction.shape}; resize them to one size"
        )
    truth = truth.astype(np.int64).ravel()
    prediction = prediction.astype(np.int64).ravel()
    if prediction.size and not 0 <= prediction.min() <= prediction.max() < num_classes:
        raise ValueError(
            f"predicted ids reach from {prediction.min()} to {prediction.max()}, "
            f"expected 0 to {num_classes - 1}"
        )
    counted = (truth >= 0) & (truth < num_classes)
    pairs = truth[counted] * num_classes + prediction[counted]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def intersection_over_union(matrix: np.ndarray) -> np.ndarray:
    """IoU per class, float64 (K,); nan for a class without a pixel in truth and prediction."""
    intersection = np.diag(matrix)
    union = matrix.sum(0) + matrix.sum(1) - intersection
    return np.where(union > 0, intersection / np.maximum(union, 1), np.nan)


def f_score(matrix: np.ndarray) -> np.ndarray:
    """F with beta^2 = 0.3 per class, float64 (K,); 0 where precision or recall is undefined."""
    hits = np.diag(matrix)
    weighted = BETA_SQUARED * matrix.sum(1) + matrix.sum(
        0
    )  # (1 + b) p r / (b p + r), cleared of fractions
    return (1 + BETA_SQUARED) * hits / np.maximum(weighted, np.finfo(float).tiny)


def harmonic_mean(first: float, second: float) -> float:
    """2 a b / (a + b); 0 if both are 0, nan if one is."""
    total = first + second
    return 2 * first * second / total if total != 0 else 0.0


def mean_over_present(values: np.ndarray) -> float:
    """Mean of the values that are not nan; nan if there is none."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")


def avsbench_ov_figures(
    matrix: np.ndarray, base_ids: tuple[int, ...], novel_ids: tuple[int, ...]
) -> dict[str, float]:
    """The AVSBench-OV protocol: IoU per class over the whole test set, and its means.

    Args:
        matrix: confusion matrix of the test set (K, K).
        base_ids, novel_ids: ids of the two groups, in 1..K-1.

    Returns:
        `mIoU` over all classes with a pixel, background included; `base`, `novel`; `harmonic` of
        the two. In 0..1, nan for a group without a pixel.
    """
    iou = intersection_over_union(matrix)
    base = mean_over_present(iou[list(base_ids)])
    novel = mean_over_present(iou[list(novel_ids)])
    return {
        "mIoU": mean_over_present(iou),
        "base": base,
        "novel": novel,
        "harmonic": harmonic_mean(base, novel),
    }


class FrameRatios:
    """IoU and F of every frame, averaged per class: the AVSS (TPAVI) protocol and the variant of
    the released OV-AVSS.

    The variant shifts no labels, so that true background is outside of every count: what is
    predicted there is ignored, and background itself is never a class with a pixel.
    """

    def __init__(self, num_classes: int, *, ignore_background: bool = False):
        self.ignore_background = ignore_background
        self.iou = np.zeros(num_classes, np.int64)  # sums over frames, in units of 1 / RATIO_ONE
        self.f = np.zeros(num_classes, np.int64)
        self.frames = np.zeros(
            num_classes, np.int64
        )  # with a pixel of the class in truth or prediction

    def add(self, matrix: np.ndarray) -> None:
        """Take in the confusion matrix (K, K) of one frame."""
        if self.ignore_background:
            matrix = matrix.copy()
            matrix[0] = 0
        present = (matrix.sum(0) + matrix.sum(1)) > 0
        if self.ignore_background:
            present[0] = False
        self.iou += _as_integers(np.nan_to_num(intersection_over_union(matrix)) * present)
        self.f += _as_integers(f_score(matrix) * present)
        self.frames += present

    def merge(self, other: "FrameRatios") -> None:
        """Add what another one, with the same classes, has seen."""
        self.iou += other.iou
        self.f += other.f
        self.frames += other.frames

    def per_class(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean IoU and F per class over its frames, float64 (K,); 0 for a class without a frame."""
        scale = np.maximum(self.frames, 1) * float(RATIO_ONE)
        return self.iou / scale, self.f / scale

    def figures(self) -> dict[str, float]:
        """`mIoU` and `F`, in 0..1: means over all K classes, those without a frame counting as
        0."""
        iou, f = self.per_class()
        return {"mIoU": float(iou.mean()), "F": float(f.mean())}


def _as_integers(ratios: np.ndarray) -> np.ndarray:
    return np.rint(ratios * RATIO_ONE).astype(np.int64)


class StreamingMetrics:
    """Everything the protocols need of the frames seen so far."""

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
        """Take in a video's frames, each as `add_frame` takes it.

        Returns:
            The video's confusion matrix, int64 (K, K).
        """
        matrix, seen = np.zeros_like(self.matrix), self.frames
        for frame in frames:
            matrix += self.add_frame(*frame)
        if self.frames > seen:
            self.videos += 1
            self.bootstrap.add(video_id, matrix)
        return matrix

    def add_frame(
        self, truth: np.ndarray, prediction: np.ndarray, all_truth: np.ndarray | None = None
    ) -> np.ndarray:
        """Take in one frame.

        Args:
            truth: true ids, integers (H, W), of the AVSBench-OV protocol: without classes that the
                video's metadata do not name.
            prediction: predicted ids, integers (H, W).
            all_truth: true ids with such classes, which the AVSS protocol counts; None: there are
                none.

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
        """Add what another one, with the same classes, has seen."""
        self.matrix += other.matrix
        self.true_frames += other.true_frames
        self.avss.merge(other.avss)
        self.avss_released.merge(other.avss_released)
        self.bootstrap.merge(other.bootstrap)
        self.videos += other.videos
        self.frames += other.frames

    def figures(self, base_ids: tuple[int, ...], novel_ids: tuple[int, ...]) -> dict[str, dict]:
        """Figures in 0..1 by protocol: `avsbench_ov`, `avss`, and `avss_released` (the variant)."""
        return {
            "avsbench_ov": avsbench_ov_figures(self.matrix, base_ids, novel_ids),
            "avss": self.avss.figures(),
            "avss_released": self.avss_released.figures(),
        }
