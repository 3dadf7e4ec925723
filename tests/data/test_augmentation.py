"""Augmentations treat all frames of a clip alike and keep masks aligned with them.

The frames are images of their masks: red inside the first object, green inside the second. So an
object's mask has to equal the pixels of its color in the augmented image, exactly.
"""

import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.data.transforms import AugInput
from PIL import Image

from ovavss_d2.config import add_ovavss_config
from ovavss_d2.data.augmentation import ColorTransform, build_augmentation, transform_frames
from ovavss_d2.data.mapper import AVSClipMapper
from ovavss_d2.data.masks import encode_mask

SIZE = (24, 32)
BRIGHT = 127  # outlines of doubled images are 7 or 9 sixteenths; jitter keeps 0 and 255 apart
FLIP = {"RANDOM_FLIP": "horizontal"}
RESIZE = {"MIN_SIZE_TRAIN": (24, 48)}
CROP = {"CROP": {"ENABLED": True, "TYPE": "absolute", "SIZE": [17, 21]}}
COLOR = {"COLOR_AUG": True}
AUGMENTATIONS = {
    "none": {},
    "flip": FLIP,
    "resize": RESIZE,
    "crop": CROP,
    "color": COLOR,
    "flip, resize, crop": FLIP | RESIZE | CROP,
    "flip, crop, color": FLIP | CROP | COLOR,
}


def masks_of(i):
    """Two overlapping objects of frame i; the second one is absent in every other frame."""
    first, second = np.zeros((2, *SIZE), bool)
    first[4:15, 2 + i : 17 + i] = True
    first[6:9, 5 + i : 9 + i] = False  # a hole
    second[9:22, 12:26] = i % 2 == 0
    return first, second


def record_of(folder, subset):
    labeled = range(5) if subset == "v1m" else [0]
    files = [str(folder / f"{i}.png") for i in range(5)]
    for i, file in enumerate(files):
        channels = [255 * mask.astype(np.uint8) for mask in masks_of(i)]
        Image.fromarray(np.stack([*channels, np.zeros(SIZE, np.uint8)], axis=-1)).save(file)
    annotations = [
        {
            "id": 70 + k,
            "category_id": 3 + k,
            "segmentations": [
                encode_mask(masks_of(i)[k]) if i in labeled else None for i in range(5)
            ],
        }
        for k in range(2)
    ]
    return {
        "video_id": "a", "subset": subset, "height": SIZE[0], "width": SIZE[1],
        "file_names": files, "times": [0.0, 1.0, 2.0, 3.0, 4.0], "audio_file": None, "names": [],
        "label_files": [file if i in labeled else None for i, file in enumerate(files)],
        "annotations": annotations,
    }  # fmt: skip


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_ovavss_config(cfg)
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (24,), "none"
    return cfg


def sample_clip(cfg, record, keys, seed):
    cfg = cfg.clone()
    for key, value in keys.items():
        if isinstance(value, dict):
            cfg.INPUT[key].update(value)
        else:
            cfg.INPUT[key] = value
    np.random.seed(seed)
    return AVSClipMapper(cfg, is_train=True)(record)


def assert_masks_match(image, instances):
    ids = instances.gt_ids.tolist()
    assert instances.gt_classes.tolist() == [i - 68 for i in ids]
    for i, mask in zip(ids, instances.gt_masks.tensor, strict=True):
        assert (mask == (image[i - 70] > BRIGHT)).all()


@pytest.mark.parametrize("subset", ["v1m", "v1s"])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_masks_equal_the_augmented_images_of_them(cfg, tmp_path, name, subset):
    record, shapes = record_of(tmp_path, subset), set()
    for seed in range(8):
        clip = sample_clip(cfg, record, AUGMENTATIONS[name], seed)
        shapes.add(tuple(clip["image"].shape[2:]))
        assert clip["labeled"].tolist() == [i == 0 or subset == "v1m" for i in range(5)]
        for image, instances, labeled in zip(
            clip["image"], clip["instances"], clip["labeled"], strict=True
        ):
            if labeled:
                assert_masks_match(image, instances)
            else:
                assert not instances.gt_masks.tensor.any()
        ids = [instances.gt_ids.tolist() for instances in clip["instances"]]
        assert ids == [ids[0]] * 5 and ids[0] in ([70, 71], [70], [71])
    assert len(shapes) == (2 if name == "resize" else 1)


def test_all_frames_of_a_clip_get_the_same_transforms(cfg):
    frame, other = np.random.default_rng(0).integers(0, 255, (2, 20, 30, 3), np.uint8)
    cfg.INPUT.COLOR_AUG = cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.RANDOM_FLIP = "horizontal"
    same = transform_frames(build_augmentation(cfg, True)(AugInput(frame)), [other] * 3)
    assert (same == same[0]).all()


def test_some_clips_are_flipped_and_others_are_not(cfg):
    frame = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    cfg.INPUT.RANDOM_FLIP = "horizontal"
    augmentation = build_augmentation(cfg, is_train=True)
    drawn = [augmentation(AugInput(frame)).apply_image(frame) for _ in range(12)]
    flipped = {bool((image == frame[:, ::-1]).all()) for image in drawn}
    assert flipped == {True, False}


@pytest.mark.parametrize("size", [(20, 30), (300, 200), (360, 480), (100, 1000)])
def test_test_frames_are_resized_as_in_pil(cfg, size):
    frame = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    transforms = build_augmentation(cfg, is_train=False)(AugInput(frame))
    (out,) = transform_frames(transforms, [frame]).transpose(0, 2, 3, 1)
    assert min(out.shape[:2]) == 360 or max(out.shape[:2]) == 1333
    expected = Image.fromarray(frame).resize(out.shape[1::-1], Image.BILINEAR)
    assert (out == np.asarray(expected)).all()


def test_neutral_color_factors_change_nothing():
    frame = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    assert (ColorTransform(1.0, 1.0, 1.0).apply_image(frame) == frame).all()


def test_an_unknown_flip_is_an_error(cfg):
    cfg.INPUT.RANDOM_FLIP = "sideways"
    with pytest.raises(ValueError, match="INPUT.RANDOM_FLIP is 'sideways'"):
        build_augmentation(cfg, is_train=True)
