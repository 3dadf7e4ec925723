"""Confusion matrices and their figures, compared with brute force."""

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
from tests.helpers.brute_force import NUM_CLASSES, brute_force_scores


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
