import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.data import transforms as T
from PIL import Image

from ovavss_d2.config import add_ovavss_config
from ovavss_d2.data.augmentation import (
    ClipAugmentation,
    ColorTransform,
    RandomColor,
    build_augmentations,
    transform_frames,
    transform_masks,
)


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_ovavss_config(cfg)
    return cfg


@pytest.fixture
def frames():
    return list(np.random.default_rng(0).integers(0, 255, (3, 20, 30, 3), np.uint8))


def draw(augmentations, frame):
    return ClipAugmentation(augmentations).draw(frame)


def test_flip_twice_is_the_identity(frames):
    transforms = draw([T.RandomFlip(1.0)], frames[0])
    flipped = transform_frames(transforms, frames).transpose(0, 2, 3, 1)
    assert (flipped != frames).any()
    assert (transform_frames(transforms, flipped).transpose(0, 2, 3, 1) == frames).all()
    masks = (np.stack(frames)[..., 0] > 99).astype(np.uint8)
    once = transform_masks(transforms, masks).astype(np.uint8)
    assert (transform_masks(transforms, once) == masks).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_mask_of_an_augmented_picture_is_the_augmented_mask(cfg, seed):
    cfg.INPUT.MIN_SIZE_TRAIN = (40, 60, 80)
    cfg.INPUT.COLOR_AUG = cfg.INPUT.CROP.ENABLED = True
    np.random.seed(seed)
    mask = np.zeros((20, 30), np.uint8)
    mask[3:14, 5:21] = 1
    mask[5:9, 12:25] = 0
    picture = np.repeat(mask[..., None] * 255, 3, axis=2)
    transforms = draw(build_augmentations(cfg, is_train=True), picture)
    (frame,), (moved,) = (
        transform_frames(transforms, [picture]),
        transform_masks(transforms, mask[None]),
    )
    assert frame.shape[1:] == moved.shape
    bright = frame[0] > 127
    # Bilinear and nearest may part on the outline, nowhere else.
    assert (bright != moved).mean() < 0.05
    inside = (
        moved
        & np.roll(moved, 6, 0)
        & np.roll(moved, -6, 0)
        & np.roll(moved, 6, 1)
        & np.roll(moved, -6, 1)
    )
    assert bright[inside].all()


def test_all_frames_of_a_clip_are_treated_alike(cfg, frames):
    cfg.INPUT.COLOR_AUG = cfg.INPUT.CROP.ENABLED = True
    transforms = draw(build_augmentations(cfg, is_train=True), frames[0])
    same = transform_frames(transforms, [frames[1]] * 3)
    assert (same == same[0]).all()


@pytest.mark.parametrize("size", [(20, 30), (300, 200), (360, 480), (100, 1000)])
def test_test_frames_are_resized_as_pil_does(cfg, size):
    frame = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    transforms = draw(build_augmentations(cfg, is_train=False), frame)
    (out,) = transform_frames(transforms, [frame]).transpose(0, 2, 3, 1)
    assert min(out.shape[:2]) == 360 or max(out.shape[:2]) == 1333
    expected = Image.fromarray(frame).resize(out.shape[1::-1], Image.BILINEAR)
    assert (out == np.asarray(expected)).all()


def test_neutral_colours_change_nothing(frames):
    assert (ColorTransform(1.0, 1.0, 1.0).apply_image(frames[0]) == frames[0]).all()


def test_colours_leave_masks_alone(frames):
    masks = (np.stack(frames)[..., 0] > 99).astype(np.uint8)
    transforms = draw([RandomColor()], frames[0])
    assert (transform_frames(transforms, frames).transpose(0, 2, 3, 1) != frames).any()
    assert (transform_masks(transforms, masks) == masks).all()


def test_an_unknown_flip_is_one_line(cfg):
    cfg.INPUT.RANDOM_FLIP = "sideways"
    with pytest.raises(ValueError, match="INPUT.RANDOM_FLIP is 'sideways'"):
        build_augmentations(cfg, is_train=True)
