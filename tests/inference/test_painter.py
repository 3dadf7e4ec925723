"""Painted frames: the right pixels, stable colours, readable names."""

import cv2
import numpy as np
import pytest

from ovavss_d2.inference.painter import (
    FURTHER,
    MASK_OPACITY,
    OKABE_ITO,
    Painter,
    colors_of,
    innermost_point,
    joined,
    text_box,
)
from ovavss_d2.inference.results import Segment

NAMES = ("cat", "dog")
PALETTE = OKABE_ITO + FURTHER


def paint(painter=None, size=(240, 320), names=NAMES, masks=()):
    image = np.full((*size, 3), 100, np.uint8)
    segments = [Segment(name, 0.8, mask) for name, mask in zip(names, masks, strict=False)]
    painted = (painter or Painter(names)).paint(image, segments)
    assert (image == 100).all()  # the frame itself is not painted on
    return painted


def right_half(size=(240, 320)):
    mask = np.zeros(size, bool)
    mask[:, size[1] // 2 :] = True
    return mask


def test_masks_are_tinted_and_the_rest_is_untouched():
    mask = right_half()
    painted = paint(masks=[mask])
    color = np.array(colors_of(NAMES)["cat"])
    np.testing.assert_allclose(
        painted[200, 300], (1 - MASK_OPACITY) * 100 + MASK_OPACITY * color, atol=1
    )
    assert (painted[100:, :150] == 100).all()
    assert (np.abs(painted[200, 155:166] - color) <= 1).all(axis=1).any()  # the outline


def test_touching_parts_of_one_name_are_one_object_and_others_are_not():
    left, right, apart = (np.zeros((8, 20), bool) for _ in range(3))
    left[:, :4], right[:, 4:6], apart[:, 9:] = True, True, True
    parts = [Segment("cat", 0.9, left), Segment("cat", 0.4, right), Segment("cat", 0.3, apart)]
    whole, other = joined(parts)
    assert (whole.score, other.score) == (0.9, 0.3)
    assert (whole.mask == (left | right)).all() and (other.mask == apart).all()
    assert len(joined([parts[0], Segment("dog", 0.8, right)])) == 2


def test_silence_leaves_all_but_the_legend():
    painted = paint()
    changed = (painted != 100).any(axis=2)
    assert changed.any() and not changed[60:].any() and not changed[:, 100:].any()
    low = paint(size=(72, 96))
    assert (low == 100).all()  # no room for it


def test_legend_shows_a_long_vocabulary_only_where_it_sounded():
    names = tuple(f"name {i}" for i in range(30))
    painter = Painter(names)
    assert (paint(painter, names=names) == 100).all()
    paint(painter, names=names, masks=[right_half()])
    assert (paint(painter, names=names) != 100).any()


def test_colours_are_stable_and_differ_within_a_vocabulary():
    names = [f"name {i}" for i in range(len(PALETTE))]
    assert colors_of(names) == colors_of(names)
    assert len(set(colors_of(names).values())) == len(PALETTE)
    assert set(colors_of(names[: len(OKABE_ITO)]).values()) == set(OKABE_ITO)
    assert colors_of(["cat"])["cat"] == colors_of(["cat", "dog", "bird"])["cat"]
    assert set(colors_of([f"n{i}" for i in range(99)]).values()) <= set(PALETTE)


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (40, 30)])
def test_any_frame_size_and_a_single_pixel_paint(size):
    mask = np.zeros(size, bool)
    mask[-1, -1] = True
    painted = paint(size=size, names=("éléphant, 汽车, a very long name indeed",), masks=[mask])
    assert painted.shape == (*size, 3)
    assert (painted[-1, -1] != 100).any()


def test_label_stands_inside_the_mask():
    mask = np.zeros((50, 80), bool)
    mask[10:20, 5:70] = True
    mask[10:45, 50:70] = True
    x, y = innermost_point(mask)
    assert mask[y, x] and 55 <= x <= 65
    assert innermost_point(np.ones((9, 9), bool)) == (4, 4)


def test_text_is_black_or_white_by_the_background():
    assert text_box("cat", 20, (255, 255, 0)).min() == 0
    assert (text_box("cat", 20, (40, 0, 90)) == 255).any()
    assert (
        text_box("a longer text", 20, (0, 0, 0)).shape[1] > text_box("cat", 20, (0, 0, 0)).shape[1]
    )


# Viénot, Brettel and Mollon (1999): linear RGB as those see it who lack a kind of cones.
BLIND_TO = {
    "nothing": np.eye(3),
    "red": np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
    "green": np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
}


@pytest.mark.parametrize("kind", BLIND_TO)
@pytest.mark.parametrize("palette", [OKABE_ITO, PALETTE])
def test_colours_stay_apart_for_the_colour_blind(kind, palette):
    linear = (np.array(palette) / 255) ** 2.2
    seen = np.clip(linear @ BLIND_TO[kind].T, 0, 1) ** (1 / 2.2)
    lab = cv2.cvtColor(seen[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0]
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    apart = distance[~np.eye(len(palette), dtype=bool)].min()
    assert apart > (15 if palette is OKABE_ITO else 8)
