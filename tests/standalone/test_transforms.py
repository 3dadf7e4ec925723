"""Transforms and augmentations."""

import numpy as np
import pytest
from detectron2.data import transforms as T
from PIL import Image

IMAGE = np.random.RandomState(0).randint(0, 256, (37, 53, 3)).astype(np.uint8)
LABELS = np.random.RandomState(1).randint(0, 9, (37, 53)).astype(np.uint8)


def test_lengths_are_drawn_from_a_range_or_a_choice():
    sizes = [T.ResizeShortestEdge([3, 50], 100).get_transform(IMAGE).new_h for _ in range(3)]
    assert sizes == [47, 50, 3]
    choice = T.ResizeShortestEdge([3, 50, 77], 100, "choice")
    assert {choice.get_transform(IMAGE).new_h for _ in range(20)} == {3, 50, 70}
    with pytest.raises(AssertionError, match="two values"):
        T.ResizeShortestEdge([3, 4, 5], sample_style="range")
    with pytest.raises(AssertionError):
        T.ResizeShortestEdge(3, sample_style="nothing")


def test_resizing_takes_gray_and_flipped_images_and_moves_coordinates_back():
    resize = T.ResizeTransform(37, 53, 20, 40)
    expected = np.asarray(Image.fromarray(IMAGE).resize((40, 20), Image.Resampling.BILINEAR))
    assert np.array_equal(resize.apply_image(IMAGE[:, :, :1])[:, :, 0], expected[:, :, 0])
    with pytest.raises(AssertionError):
        resize.apply_image(IMAGE[:30])
    image = T.HFlipTransform(4).apply_image(np.arange(16, dtype=np.float32).reshape(4, 4, 1))
    resized = T.ResizeTransform(4, 4, 2, 2).apply_image(image)
    assert resized[:, :, 0].tolist() == [[4.5, 2.5], [12.5, 10.5]]
    points = np.array([[1.0, 2.0], [53, 37]])
    assert np.allclose(resize.inverse().apply_coords(resize.apply_coords(points.copy())), points)


def test_augmentations_change_image_boxes_and_labels_together():
    aug_input = T.AugInput(IMAGE, boxes=np.array([[1.0, 2, 30, 20]]), sem_seg=LABELS)
    augmentations = T.AugmentationList(
        [T.RandomFlip(1.0), T.ResizeTransform(37, 53, 10, 12), T.HFlipTransform(12)]
    )
    transforms = augmentations(aug_input)
    assert (aug_input.image.shape, aug_input.sem_seg.shape) == ((10, 12, 3), (10, 12))
    # The two flips cancel out.
    scale = np.array([12 / 53, 10 / 37] * 2)
    assert np.allclose(aug_input.boxes, np.array([[1.0, 2, 30, 20]]) * scale)
    assert np.array_equal(transforms.apply_image(IMAGE), aug_input.image)


def test_augmentation_gets_the_attributes_named_by_its_arguments():
    class Shift(T.Augmentation):
        def __init__(self, amount, other=3):
            self._init(locals())

        def get_transform(self, image, sem_seg):
            assert sem_seg is not None
            return T.NoOpTransform()

    class Wanting(T.Augmentation):
        def get_transform(self, image, depth):
            return T.NoOpTransform()

    aug_input = T.AugInput(IMAGE, sem_seg=LABELS)
    assert isinstance(Shift(2)(aug_input), T.NoOpTransform)
    assert repr(Shift(2)) == "Shift(amount=2)"
    with pytest.raises(AttributeError, match="depth"):
        Wanting()(aug_input)
    with pytest.raises(AssertionError, match="numpy"):
        T.AugInput("image")


def test_flip_has_exactly_one_direction():
    assert isinstance(T.RandomFlip(0.0).get_transform(IMAGE), T.NoOpTransform)
    vertical = T.RandomFlip(1.0, horizontal=False, vertical=True).get_transform(IMAGE)
    assert np.array_equal(vertical.apply_image(IMAGE), IMAGE[::-1])
    for both in (True, False):
        with pytest.raises(ValueError):
            T.RandomFlip(horizontal=both, vertical=both)


@pytest.mark.parametrize(
    ("kind", "size", "expected"),
    [
        ("relative", (0.5, 0.4), (0, 12, 21, 19)),
        ("relative_range", (0.5, 0.4), (3, 3, 44, 29)),
        ("absolute", (20, 60), (0, 12, 53, 20)),
        ("absolute_range", (10, 20), (3, 3, 10, 15)),
    ],
)
def test_crops_equal_the_recorded_ones(kind, size, expected):
    crop = T.RandomCrop(kind, size).get_transform(IMAGE)
    assert (crop.x0, crop.y0, crop.w, crop.h) == expected
