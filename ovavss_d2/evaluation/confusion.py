"""Confusion matrices and the figures derived from them.

Shape letters: K classes including background (0), H W pixels of a frame, R bootstrap replicates.
"Counts" are int64 (3, K) or (R, 3, K): the pixels of each class in both truth and prediction, in
the truth, and in the prediction.
"""

from collections.abc import Sequence

import numpy as np

BETA_SQUARED = 0.3  # of the AVSS protocol's F


def confusion_matrix(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Count the pixels of every (true class, predicted class) pair.

    Args:
        truth: integer ids (H, W); pixels with an id outside 0..K-1, such as 255, are ignored.
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
            f"predicted ids are {prediction.min()} to {prediction.max()}, "
            f"expected 0 to {num_classes - 1}"
        )
    counted = (truth >= 0) & (truth < num_classes)
    pairs = truth[counted] * num_classes + prediction[counted]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def pixel_counts(matrix: np.ndarray) -> np.ndarray:
    """Counts (3, K) of a confusion matrix (K, K)."""
    return np.stack([np.diag(matrix), matrix.sum(1), matrix.sum(0)])


def intersection_over_union(counts: np.ndarray) -> np.ndarray:
    """IoU per class, float64 (..., K); NaN for classes without a pixel."""
    both, true, predicted = np.moveaxis(counts, -2, 0)
    union = true + predicted - both
    return np.where(union > 0, both / np.maximum(union, 1), np.nan)


def f_score(counts: np.ndarray) -> np.ndarray:
    """F with beta^2 = 0.3 per class, float64 (..., K); 0 if precision or recall is undefined."""
    both, true, predicted = np.moveaxis(counts, -2, 0)
    weighted = BETA_SQUARED * true + predicted  # (1 + b) p r / (b p + r), without fractions
    return (1 + BETA_SQUARED) * both / np.maximum(weighted, np.finfo(float).tiny)


def mean_over_present(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of the values that are not NaN; NaN if there are none."""
    present = (~np.isnan(values)).sum(axis=-1)
    return np.where(present > 0, np.nansum(values, axis=-1) / np.maximum(present, 1), np.nan)


def avsbench_ov_figures(
    counts: np.ndarray, base_ids: Sequence[int], novel_ids: Sequence[int]
) -> dict[str, np.ndarray]:
    """Figures of the AVSBench-OV protocol.

    Args:
        counts: of the whole test set.
        base_ids, novel_ids: ids of the two groups, in 1..K-1.

    Returns:
        `mIoU` over all classes with a pixel, including background; `base`, `novel`; `harmonic`
        mean of the two. In 0..1, NaN for a group without a pixel; shape () or (R,).
    """
    iou = intersection_over_union(counts)
    base, novel = (mean_over_present(iou[..., list(ids)]) for ids in (base_ids, novel_ids))
    total = base + novel
    harmonic = np.where(total == 0, 0.0, 2 * base * novel / np.where(total == 0, 1, total))
    return {"mIoU": mean_over_present(iou), "base": base, "novel": novel, "harmonic": harmonic}
