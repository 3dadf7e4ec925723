"""Painted frames: the right pixels, stable colours, readable names."""

import numpy as np
import pytest

from ovavss_d2.segmenter import FrameResult, Segment
from ovavss_d2.visualization import (
    FURTHER,
    MASK_OPACITY,
    OKABE_ITO,
    Painter,
    colors_of,
    innermost_point,
    nearest_overlays,
    text_box,
)

NAMES = ("cat", "dog")
PALETTE = OKABE_ITO + FURTHER


def make_result(time=0.0, size=(240, 320), names=NAMES, masks=None):
    label_map = np.zeros(size, np.int32)
    segments = []
    for k, (name, mask) in enumerate(zip(names, masks or [], strict=False), start=1):
        label_map[mask] = k
        segments.append(Segment(name, 0.8, mask))
    image = np.full((*size, 3), 100, np.uint8)
    return FrameResult(int(time), time, image, names, label_map, tuple(segments))


def right_half(size=(240, 320)):
    mask = np.zeros(size, bool)
    mask[:, size[1] // 2 :] = True
    return mask


def test_masks_are_tinted_and_the_rest_is_untouched():
    mask = right_half()
    painted = Painter(NAMES).paint(make_result(masks=[mask]))
    color = np.array(colors_of(NAMES)["cat"])
    np.testing.assert_allclose(
        painted[200, 300], (1 - MASK_OPACITY) * 100 + MASK_OPACITY * color, atol=1
    )
    assert (painted[100:, :150] == 100).all()
    assert (np.abs(painted[200, 155:166] - color) <= 1).all(axis=1).any()  # the outline


def test_silence_leaves_all_but_the_legend():
    painted = Painter(NAMES).paint(make_result())
    changed = (painted != 100).any(axis=2)
    assert changed.any() and not changed[60:].any() and not changed[:, 100:].any()
    low = Painter(NAMES).paint(make_result(size=(72, 96)))
    assert (low == 100).all()  # no room for it


def test_legend_shows_a_long_vocabulary_only_where_it_sounded():
    names = tuple(f"name {i}" for i in range(30))
    painter = Painter(names)
    assert (painter.paint(make_result(names=names)) == 100).all()
    painter.paint(make_result(names=names, masks=[right_half()]))
    assert (painter.paint(make_result(names=names)) != 100).any()


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
    painted = Painter(("éléphant, 汽车, a very long name indeed",)).paint(
        make_result(size=size, names=("éléphant, 汽车, a very long name indeed",), masks=[mask])
    )
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


def test_frames_between_take_the_nearest_result():
    results = [make_result(time) for time in (0.0, 1.0, 2.0)]
    results[1] = make_result(1.0, masks=[right_half()])
    frames = [(time, results[0].image) for time in (0.0, 0.4, 0.6, 1.4, 1.6, 5.0)]
    overlays = list(nearest_overlays(results, frames, Painter(NAMES)))
    assert [time for time, _, _ in overlays] == [time for time, _ in frames]
    assert [overlay.opacity[100, 250] > 0 for _, _, overlay in overlays] == [
        False, False, True, True, False, False
    ]  # fmt: skip


def test_results_are_read_only_as_needed():
    read = []

    def results():
        for time in range(100):
            read.append(time)
            yield make_result(float(time), size=(8, 8))

    overlays = nearest_overlays(results(), [(0.0, None), (1.1, None), (9.0, None)], Painter(NAMES))
    next(overlays)
    next(overlays)
    assert len(read) <= 3
