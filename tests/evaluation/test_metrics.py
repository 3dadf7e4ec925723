"""Confusion matrices, their figures, and metrics over frames, compared with brute force."""

import math

import numpy as np
import pytest

from ovavss_d2.evaluation.confusion import (
    avsbench_ov_figures,
    confusion_matrix,
    f_score,
    intersection_over_union,
    pixel_counts,
)
from ovavss_d2.evaluation.metrics import FrameRatios, StreamingMetrics

NUM_CLASSES = 5


@pytest.fixture
def random_frames():
    """Truth and prediction of six frames, some of them without objects."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, NUM_CLASSES - 1, (6, 9, 7)) * rng.integers(0, 2, (6, 1, 1))
    other = rng.integers(0, NUM_CLASSES, truth.shape)
    return truth, np.where(rng.random(truth.shape) < 0.5, truth, other)


def brute_force_scores(truth, prediction):
    """IoU and F per class by their definitions; NaN and 0 for classes without a pixel."""
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


def test_the_matrix_counts_each_pair(random_frames):
    truth, prediction = random_frames
    matrix = confusion_matrix(truth, prediction, NUM_CLASSES)
    assert matrix.dtype == np.int64
    for row in range(NUM_CLASSES):
        for column in range(NUM_CLASSES):
            assert matrix[row, column] == ((truth == row) & (prediction == column)).sum()


def test_iou_and_f_equal_their_definitions(random_frames):
    counts = pixel_counts(confusion_matrix(*random_frames, NUM_CLASSES))
    iou, f = brute_force_scores(*random_frames)
    np.testing.assert_allclose(intersection_over_union(counts), iou)
    np.testing.assert_allclose(f_score(counts), f)


def test_ignored_truth_is_not_counted():
    truth = np.array([[0, 255], [1, 255]])
    assert confusion_matrix(truth, np.array([[0, 1], [1, 0]]), 2).tolist() == [[1, 0], [0, 1]]


def test_wrong_shapes_and_ids_raise_errors():
    with pytest.raises(ValueError, match="resize them to one size"):
        confusion_matrix(np.zeros((2, 2)), np.zeros((2, 3)), 5)
    with pytest.raises(ValueError, match="expected 0 to 4"):
        confusion_matrix(np.zeros((2, 2)), np.full((2, 2), 7), 5)


def test_groups_are_averaged_over_the_classes_that_occur():
    matrix = np.zeros((5, 5), np.int64)
    matrix[0, 0], matrix[1, 1], matrix[1, 0], matrix[3, 3] = 6, 1, 1, 2
    figures = avsbench_ov_figures(pixel_counts(matrix), base_ids=(1, 2), novel_ids=(3, 4))
    assert figures["base"] == 0.5  # class 2 does not occur
    assert figures["novel"] == 1.0
    assert figures["mIoU"] == pytest.approx((6 / 7 + 0.5 + 1.0) / 3)
    assert figures["harmonic"] == pytest.approx(2 / 3)


def test_a_group_without_a_pixel_is_nan_and_a_group_without_hits_is_zero():
    matrix = np.zeros((5, 5), np.int64)
    matrix[1, 2] = 3
    figures = avsbench_ov_figures(pixel_counts(matrix), base_ids=(1,), novel_ids=(3, 4))
    assert figures["base"] == 0 and math.isnan(figures["novel"]) and math.isnan(figures["harmonic"])
    assert avsbench_ov_figures(pixel_counts(matrix), (1,), (2,))["harmonic"] == 0


def test_avss_averages_frames_then_classes(random_frames):
    ratios, scores = FrameRatios(NUM_CLASSES), []
    for truth, prediction in zip(*random_frames, strict=True):
        ratios.add(confusion_matrix(truth, prediction, NUM_CLASSES))
        scores.append(brute_force_scores(truth, prediction))
    iou, f = map(np.array, zip(*scores, strict=True))
    frames = (~np.isnan(iou)).sum(0)
    np.testing.assert_array_equal(ratios.frames, frames)
    expected = {
        "mIoU": (np.nansum(iou, 0) / np.maximum(frames, 1)).mean(),
        "F": (f.sum(0) / np.maximum(frames, 1)).mean(),
    }
    assert ratios.figures() == pytest.approx(expected, abs=1e-9)


def test_the_released_variant_ignores_predictions_on_true_background():
    truth = np.array([[0, 0, 1, 1]])
    wrong, correct = (FrameRatios(NUM_CLASSES, ignore_background=True) for _ in range(2))
    wrong.add(confusion_matrix(truth, np.array([[1, 3, 1, 0]]), NUM_CLASSES))
    correct.add(confusion_matrix(truth, np.array([[0, 0, 1, 0]]), NUM_CLASSES))
    assert wrong.figures() == correct.figures()
    assert wrong.frames.tolist() == [0, 1, 0, 0, 0]


def test_one_pixel_and_perfect_prediction():
    metrics = StreamingMetrics(NUM_CLASSES)
    metrics.add_frame(np.array([[3]]), np.array([[3]]))
    figures = metrics.figures((1, 2), (3, 4))
    assert figures["avsbench_ov"]["novel"] == 1.0
    assert figures["avss"] == {"mIoU": 1 / NUM_CLASSES, "F": 1 / NUM_CLASSES}
