"""Metrics accumulated over frames, compared with brute force."""

import numpy as np
import pytest

from ovavss_d2.evaluation.confusion import confusion_matrix
from ovavss_d2.evaluation.metrics import FrameRatios, StreamingMetrics
from tests.helpers.brute_force import NUM_CLASSES, brute_force_scores

GROUPS = (1, 2), (3, 4)


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
    figures = metrics.figures(*GROUPS)
    assert figures["avsbench_ov"]["novel"] == 1.0
    assert figures["avss"] == {"mIoU": 1 / NUM_CLASSES, "F": 1 / NUM_CLASSES}
