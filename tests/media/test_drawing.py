"""The drawing kit: colors, text boxes, masks and sizes."""

import cv2
import numpy as np
import pytest

from ovavss_d2.media.drawing import (
    EXTRA_COLORS,
    OKABE_ITO,
    name_colors,
    pad,
    paint_classes,
    paste,
    resize_to_fit,
    text_box,
)
from ovavss_d2.vocabulary import voc_palette

PALETTE = OKABE_ITO + EXTRA_COLORS


def test_colors_are_stable_and_differ_within_a_vocabulary():
    names = [f"name {i}" for i in range(len(PALETTE))]
    assert name_colors(names) == name_colors(names)
    assert len(set(name_colors(names).values())) == len(PALETTE)
    assert set(name_colors(names[: len(OKABE_ITO)]).values()) == set(OKABE_ITO)
    assert name_colors(["cat"])["cat"] == name_colors(["cat", "dog", "bird"])["cat"]
    assert set(name_colors([f"n{i}" for i in range(99)]).values()) <= set(PALETTE)


def test_text_is_black_or_white_for_contrast():
    assert text_box("cat", 20, (255, 255, 0)).min() == 0
    assert (text_box("cat", 20, (40, 0, 90)) == 255).any()
    assert text_box("a longer text", 20).shape[1] > text_box("cat", 20).shape[1]


def test_boxes_are_moved_inside_or_cropped():
    image, box = np.zeros((6, 8, 3), np.uint8), np.full((2, 3, 3), 200, np.uint8)
    paste(image, box, 7, -5)
    assert (image[:2, 5:] == 200).all() and image.sum() == 200 * box.size
    paste(image, box, 0, 4, opacity=0.5)
    assert (image[4:, :3] == 100).all()
    assert (pad(box, 1, 5)[0, :, 0] == [200, 200, 200, 255, 255]).all()
    assert resize_to_fit(image, 12, 100).shape == (12, 16, 3)


def test_classes_are_painted_and_background_is_not():
    frame = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    ids = np.zeros((20, 30), np.uint8)
    ids[5:15, 5:20] = 3
    painted = paint_classes(frame, ids, voc_palette(5))
    assert (painted[ids == 0] == frame[ids == 0]).all()
    assert (painted[7:13, 7:18] != frame[7:13, 7:18]).any(axis=2).all()
    assert (painted[5, 5:20] == 255).all()  # the outline
    larger = ids.repeat(2, axis=0).repeat(2, axis=1)
    assert (paint_classes(frame, larger, voc_palette(5)) == painted).all()


# Viénot, Brettel and Mollon (1999): linear RGB as people perceive it who lack one kind of cones.
BLIND_TO = {
    "nothing": np.eye(3),
    "red": np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
    "green": np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
}


@pytest.mark.parametrize("kind", BLIND_TO)
@pytest.mark.parametrize("palette", [OKABE_ITO, PALETTE])
def test_colors_differ_for_color_blind_people(kind, palette):
    linear = (np.array(palette) / 255) ** 2.2
    perceived = np.clip(linear @ BLIND_TO[kind].T, 0, 1) ** (1 / 2.2)
    lab = cv2.cvtColor(perceived[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0]
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    apart = distance[~np.eye(len(palette), dtype=bool)].min()
    assert apart > (15 if palette is OKABE_ITO else 8)
