"""Masks follow what they lie on; results hold from their time on."""

import numpy as np
import pytest

from ovavss_d2.inference.mask_propagation import Follower, hold_results
from ovavss_d2.inference.results import FrameResult
from ovavss_d2.toy.scene import draw_scene, render

RATE = 12


def iou(one, other):
    found = [
        ((one == k) & (other == k)).sum() / ((one == k) | (other == k)).sum()
        for k in np.unique(other)
        if k
    ]
    return np.mean(found)


@pytest.mark.parametrize("size", [(96, 128), (300, 400)])  # below and above that of the flow
def test_true_masks_of_the_toy_world_are_followed_for_a_second(size):
    rng = np.random.default_rng(3)
    followed, left = [], []
    for class_ids in ([1, 12, 23], [5, 16, 27]):
        images, labels = render(draw_scene(rng, class_ids, size, 4), np.arange(2 * RATE) / RATE)
        follower = Follower()
        for i, (image, truth) in enumerate(zip(images, labels, strict=True)):
            if i % RATE == 0:
                follower.start(image, truth)
                key = truth
            else:
                followed.append(iou(follower.carry(image), truth))
                left.append(iou(key, truth))
    assert np.mean(followed) > 0.9
    assert np.mean(followed) > np.mean(left) + 0.05


def test_a_cut_to_another_scene_loses_the_masks_until_it_cuts_back():
    rng = np.random.default_rng(0)
    scene, other = rng.integers(0, 255, (2, 60, 80, 3), np.uint8)
    labels = np.zeros((60, 80), np.int32)
    labels[10:40, 10:40] = 7
    follower = Follower()
    follower.start(scene, labels)
    assert not follower.carry(255 - other).any()
    np.testing.assert_array_equal(follower.carry(scene), labels)


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (17, 3)])
def test_any_frame_size_is_followed(size):
    follower = Follower()
    follower.start(np.zeros((*size, 3), np.uint8), np.ones(size, np.int32))
    assert follower.carry(np.full((*size, 3), 9, np.uint8)).shape == size


def result(time):
    empty = np.zeros((2, 2, 3), np.uint8)
    return FrameResult(int(time), time, empty, (), np.zeros((2, 2), np.int32), ())


def test_results_hold_from_their_time_on_and_are_read_as_needed():
    read = []
    results = (read.append(time) or result(time) for time in (0.0, 1.0, 2.0, 3.0, 3.5, 9.0))
    times = (0.0, 0.5, 0.9998, 1.4, 3.6)
    held = hold_results([(time, "image") for time in times], results)
    fresh = []
    for time, _, new in held:
        fresh.append((time, [r.time for r in new]))
        assert time > 2 or len(read) <= 3
    assert fresh == [
        (0.0, [0.0]), (0.5, []), (0.9998, [1.0]), (1.4, []), (3.6, [2.0, 3.0, 3.5]), (3.6, [9.0])
    ]  # fmt: skip
