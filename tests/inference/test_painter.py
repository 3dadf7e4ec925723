"""Painted frames: masks, names and legend are drawn where they belong."""

import numpy as np
import pytest

from ovavss_d2.inference.painter import MASK_OPACITY, Painter, innermost_point, merge_touching
from ovavss_d2.inference.results import Segment
from ovavss_d2.media.drawing import name_colors

NAMES = ("cat", "dog")


def paint(painter=None, size=(240, 320), names=NAMES, masks=()):
    image = np.full((*size, 3), 100, np.uint8)
    segments = [Segment(name, 0.8, mask) for name, mask in zip(names, masks, strict=False)]
    painted = (painter or Painter(names)).paint(image, segments)
    assert (image == 100).all()  # the input is not changed
    return painted


def right_half(size=(240, 320)):
    mask = np.zeros(size, bool)
    mask[:, size[1] // 2 :] = True
    return mask


def test_masks_are_tinted_and_the_rest_is_untouched():
    mask = right_half()
    painted = paint(masks=[mask])
    color = np.array(name_colors(NAMES)["cat"])
    np.testing.assert_allclose(
        painted[200, 300], (1 - MASK_OPACITY) * 100 + MASK_OPACITY * color, atol=1
    )
    assert (painted[100:, :150] == 100).all()
    assert (np.abs(painted[200, 155:166] - color) <= 1).all(axis=1).any()  # the outline


def test_touching_segments_of_one_name_are_merged():
    left, right, apart = (np.zeros((8, 20), bool) for _ in range(3))
    left[:, :4], right[:, 4:6], apart[:, 9:] = True, True, True
    parts = [Segment("cat", 0.9, left), Segment("cat", 0.4, right), Segment("cat", 0.3, apart)]
    whole, other = merge_touching(parts)
    assert (whole.score, other.score) == (0.9, 0.3)
    assert (whole.mask == (left | right)).all() and (other.mask == apart).all()
    assert len(merge_touching([parts[0], Segment("dog", 0.8, right)])) == 2


def test_silence_changes_only_the_legend():
    painted = paint()
    changed = (painted != 100).any(axis=2)
    assert changed.any() and not changed[60:].any() and not changed[:, 100:].any()
    low = paint(size=(72, 96))
    assert (low == 100).all()  # too small for a legend


def test_legend_of_a_long_vocabulary_lists_names_that_have_sounded():
    names = tuple(f"name {i}" for i in range(30))
    painter = Painter(names)
    assert (paint(painter, names=names) == 100).all()
    paint(painter, names=names, masks=[right_half()])
    assert (paint(painter, names=names) != 100).any()


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (40, 30)])
def test_any_frame_size_and_a_single_pixel_paint(size):
    mask = np.zeros(size, bool)
    mask[-1, -1] = True
    painted = paint(size=size, names=("éléphant, 汽车, a very long name indeed",), masks=[mask])
    assert painted.shape == (*size, 3)
    assert (painted[-1, -1] != 100).any()


def test_names_are_placed_inside_the_mask():
    mask = np.zeros((50, 80), bool)
    mask[10:20, 5:70] = True
    mask[10:45, 50:70] = True
    x, y = innermost_point(mask)
    assert mask[y, x] and 55 <= x <= 65
    assert innermost_point(np.ones((9, 9), bool)) == (4, 4)
