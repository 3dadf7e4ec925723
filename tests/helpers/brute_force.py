"""IoU and F by their definitions, on sets of pixels."""

import numpy as np

NUM_CLASSES = 5


def brute_force_scores(truth, prediction):
    """IoU and F per class; NaN and 0 for classes without a pixel."""
    iou, f = np.full(NUM_CLASSES, np.nan), np.zeros(NUM_CLASSES)
    for k in range(NUM_CLASSES):
        true, predicted = truth == k, prediction == k
        if (true | predicted).any():
            iou[k] = (true & predicted).sum() / (true | predicted).sum()
        if (true & predicted).any():
            precision = (true & predicted).sum() / predicted.sum()
            recall = (true & predicted).sum() / true.sum()
            f[k] = 1.3 * precision * recall / (0.3 * precision + recall)
    return iou, f
