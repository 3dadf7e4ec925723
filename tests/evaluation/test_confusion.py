"""Confusion matrices and the protocols' figures, against brute force."""

import math

import numpy as np
import pytest

from ovavss_d2.evaluation.confusion import (
    FrameRatios,
    StreamingMetrics,
    avsbench_ov_figures,
    confusion_matrix,
    f_score,
    intersection_over_union,
)

K = 5


@pytest.fixture
def frames():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, K - 1, (6, 9, 7)) * rng.integers(0, 2, (6, 1, 1))
    prediction = np.where(rng.random(truth.shape) < 0.5, truth, rng.integers(0, K, truth.shape))
    return truth, prediction


def brute_force_scores(truth, prediction):
    """Pixel sets, precision and recall, as the definitions say."""
    iou, f = np.full(K, np.nan), np.zeros(K)
    for k in range(K):
        true, predicted = truth == k, prediction == k
        if (true | predicted).any():
            iou[k] = (true & predicted).sum() / (true | predicted).sum()
        if true.any() and predicted.any() and (true & predicted).any():
            precision = (true & predicted).sum() / predicted.sum()
            recall = (true & predicted).sum() / true.sum()
            f[k] = 1.3 * precision * recall / (0.3 * precision + recall)
    return iou, f


def test_confusion_matrix_counts_each_pair(frames):
    truth, prediction = frames
    matrix = confusion_matrix(truth, prediction, K)
    assert matrix.dtype == np.int64
    for row in range(K):
        for column in range(K):
            assert matrix[row, column] == ((truth == row) & (prediction == column)).sum()


def test_iou_and_f_equal_their_definitions(frames):
    truth, prediction = frames
    matrix = confusion_matrix(truth, prediction, K)
    iou, f = brute_force_scores(truth, prediction)
    np.testing.assert_allclose(intersection_over_union(matrix), iou)
    np.testing.assert_allclose(f_score(matrix), f)


def test_ignored_truth_is_not_counted():
    truth = np.array([[0, 255], [1, 255]])
    assert confusion_matrix(truth, np.array([[0, 1], [1, 0]]), 2).tolist() == [[1, 0], [0, 1]]


def test_wrong_shapes_and_ids_are_told():
    with pytest.raises(ValueError, match="resize them to one size"):
        confusion_matrix(np.zeros((2, 2)), np.zeros((2, 3)), K)
    with pytest.raises(ValueError, match="expected 0 to 4"):
        confusion_matrix(np.zeros((2, 2)), np.full((2, 2), 7), K)


def test_groups_mean_over_the_classes_that_occur():
    matrix = np.zeros((K, K), np.int64)
    matrix[0, 0], matrix[1, 1], matrix[1, 0], matrix[3, 3] = 6, 1, 1, 2
    figures = avsbench_ov_figures(matrix, base_ids=(1, 2), novel_ids=(3, 4))
    assert figures["base"] == 0.5  # class 2 occurs nowhere
    assert figures["novel"] == 1.0
    assert figures["mIoU"] == pytest.approx((6 / 7 + 0.5 + 1.0) / 3)
    assert figures["harmonic"] == pytest.approx(2 / 3)


def test_group_without_a_pixel_is_not_a_number_and_failing_groups_are_zero():
    matrix = np.zeros((K, K), np.int64)
    matrix[1, 2] = 3
    figures = avsbench_ov_figures(matrix, base_ids=(1,), novel_ids=(3, 4))
    assert figures["base"] == 0 and math.isnan(figures["novel"]) and math.isnan(figures["harmonic"])
    assert avsbench_ov_figures(matrix, (1,), (2,))["harmonic"] == 0


def test_avss_averages_frames_then_classes(frames):
    ratios = FrameRatios(K)
    iou_sum, f_sum, seen = np.zeros(K), np.zeros(K), np.zeros(K)
    for truth, prediction in zip(*frames, strict=True):
        ratios.add(confusion_matrix(truth, prediction, K))
        iou, f = brute_force_scores(truth, prediction)
        iou_sum, f_sum, seen = iou_sum + np.nan_to_num(iou), f_sum + f, seen + ~np.isnan(iou)
    np.testing.assert_array_equal(ratios.frames, seen)
    figures = ratios.figures()
    assert figures["mIoU"] == pytest.approx((iou_sum / np.maximum(seen, 1)).mean(), abs=1e-9)
    assert figures["F"] == pytest.approx((f_sum / np.maximum(seen, 1)).mean(), abs=1e-9)


def test_released_variant_ignores_predictions_on_true_background():
    truth = np.array([[0, 0, 1, 1]])
    wild, quiet = (FrameRatios(K, ignore_background=True) for _ in range(2))
    wild.add(confusion_matrix(truth, np.array([[1, 3, 1, 0]]), K))
    quiet.add(confusion_matrix(truth, np.array([[0, 0, 1, 0]]), K))
    assert wild.figures() == quiet.figures()
    assert wild.frames.tolist() == [0, 1, 0, 0, 0]


def test_order_and_partition_of_frames_change_no_bit(frames):
    pairs = list(zip(*frames, strict=True))
    whole, first, second = (StreamingMetrics(K) for _ in range(3))
    for pair in pairs:
        whole.add_frame(*pair)
    for i, pair in enumerate(reversed(pairs)):
        (first if i % 3 else second).add_frame(*pair)
    second.merge(first)
    assert second.frames == whole.frames == len(pairs)
    np.testing.assert_array_equal(second.true_frames, whole.true_frames)
    assert second.figures((1, 2), (3, 4)) == whole.figures((1, 2), (3, 4))


def test_one_pixel_and_perfect_prediction():
    metrics = StreamingMetrics(K)
    metrics.add_frame(np.array([[3]]), np.array([[3]]))
    assert metrics.figures((1, 2), (3, 4))["avsbench_ov"]["novel"] == 1.0
    assert metrics.figures((1, 2), (3, 4))["avss"] == {"mIoU": 1 / K, "F": 1 / K}
