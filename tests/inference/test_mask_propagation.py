"""Masks follow the motion; results hold from their time on."""

import numpy as np
import pytest

from ovavss_d2.inference.mask_propagation import MaskPropagator, assign_results
from ovavss_d2.inference.results import FrameResult
from ovavss_d2.toy.scene import draw_scene, render
from ovavss_d2.toy.shapes_and_tones import TOY

RATE = 12


def iou(one, other):
    found = [
        ((one == k) & (other == k)).sum() / ((one == k) | (other == k)).sum()
        for k in np.unique(other)
        if k
    ]
    return np.mean(found)


@pytest.mark.parametrize("size", [(96, 128), (300, 400)])  # around the size for the flow
def test_masks_follow_toy_objects_for_a_second(size):
    rng = np.random.default_rng(3)
    propagated, unchanged = [], []
    for class_ids in ([1, 12, 23], [5, 16, 27]):
        images, labels = render(
            draw_scene(TOY, rng, class_ids, size, 4), np.arange(2 * RATE) / RATE
        )
        propagator = MaskPropagator()
        for i, (image, truth) in enumerate(zip(images, labels, strict=True)):
            if i % RATE == 0:
                propagator.start(image, truth)
                key = truth
            else:
                propagated.append(iou(propagator.propagate(image), truth))
                unchanged.append(iou(key, truth))
    assert np.mean(propagated) > 0.9
    assert np.mean(propagated) > np.mean(unchanged) + 0.05


def test_masks_end_at_a_cut_and_return_with_the_scene():
    rng = np.random.default_rng(0)
    scene, other = rng.integers(0, 255, (2, 60, 80, 3), np.uint8)
    labels = np.zeros((60, 80), np.int32)
    labels[10:40, 10:40] = 7
    propagator = MaskPropagator()
    propagator.start(scene, labels)
    assert not propagator.propagate(255 - other).any()
    np.testing.assert_array_equal(propagator.propagate(scene), labels)


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (17, 3)])
def test_any_frame_size_works(size):
    propagator = MaskPropagator()
    propagator.start(np.zeros((*size, 3), np.uint8), np.ones(size, np.int32))
    assert propagator.propagate(np.full((*size, 3), 9, np.uint8)).shape == size


def result(time):
    empty = np.zeros((2, 2, 3), np.uint8)
    return FrameResult(int(time), time, empty, (), np.zeros((2, 2), np.int32), ())


def test_results_start_at_their_frames_and_are_read_as_needed():
    read = []
    results = (read.append(time) or result(time) for time in (0.0, 1.0, 2.0, 3.0, 3.5, 9.0))
    times = (0.0, 0.5, 0.9998, 1.4, 3.6)
    assigned = assign_results([(time, "image") for time in times], results)
    fresh = []
    for time, _, new in assigned:
        fresh.append((time, [r.time for r in new]))
        assert time > 2 or len(read) <= 3
    assert fresh == [
        (0.0, [0.0]), (0.5, []), (0.9998, [1.0]), (1.4, []), (3.6, [2.0, 3.0, 3.5]), (3.6, [9.0])
    ]  # fmt: skip
