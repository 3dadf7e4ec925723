"""Under every augmentation a clip's masks, ids and half-labeled frames stay right.

The frames are pictures of their own masks: red where the first object is, green where the second
is. So an object's mask has to equal the place where its colour is in the augmented picture, exactly
when frames are doubled, cropped, flipped or coloured.
"""

import numpy as np
import pytest
from detectron2.config import get_cfg
from PIL import Image

from ovavss_d2.config import add_ovavss_config
from ovavss_d2.data.mapper import AVSClipMapper
from ovavss_d2.data.masks import encode_mask

SIZE = (24, 32)
BRIGHT = 127  # doubled pixels are 7 or 9 sixteenths at the outline; jitter keeps 0 and 255 apart
AUGMENTATIONS = {
    "none": {},
    "flip": {"RANDOM_FLIP": "horizontal"},
    "resize": {"MIN_SIZE_TRAIN": (24, 48)},
    "crop": {"CROP": {"ENABLED": True, "TYPE": "absolute", "SIZE": [17, 21]}},
    "colour": {"COLOR_AUG": True},
}
AUGMENTATIONS["flip, resize, crop"] = {
    key: AUGMENTATIONS[name][key]
    for name, key in (("flip", "RANDOM_FLIP"), ("resize", "MIN_SIZE_TRAIN"), ("crop", "CROP"))
}
AUGMENTATIONS["flip, crop, colour"] = {
    **AUGMENTATIONS["flip"],
    **AUGMENTATIONS["crop"],
    **AUGMENTATIONS["colour"],
}


def masks_of(i):
    """Two overlapping objects of frame i, the second one absent every other frame."""
    first, second = np.zeros((2, *SIZE), bool)
    first[4:15, 2 + i : 17 + i] = True
    first[6:9, 5 + i : 9 + i] = False  # a hole
    if i % 2 == 0:
        second[9:22, 12:26] = True
    return first, second


def record_of(folder, subset="v1m", labeled=range(5)):
    files = []
    for i in range(5):
        picture = np.zeros((*SIZE, 3), np.uint8)
        for channel, mask in enumerate(masks_of(i)):
            picture[mask, channel] = 255
        files.append(str(folder / f"{i}.png"))
        Image.fromarray(picture).save(files[-1])
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
        "label_files": [files[i] if i in labeled else None for i in range(5)],
        "annotations": annotations,
    }  # fmt: skip


def draw_clip(record, keys, seed):
    cfg = get_cfg()
    add_ovavss_config(cfg)
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (24,), "none"
    for key, value in keys.items():
        if isinstance(value, dict):
            cfg.INPUT[key].update(value)
        else:
            cfg.INPUT[key] = value
    np.random.seed(seed)
    return AVSClipMapper(cfg, is_train=True)(record)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_mask_equals_the_augmented_picture_of_it(tmp_path, name):
    record = record_of(tmp_path)
    shapes = set()
    for seed in range(8):
        clip = draw_clip(record, AUGMENTATIONS[name], seed)
        shapes.add(tuple(clip["image"].shape[2:]))
        for picture, frame in zip(clip["image"], clip["instances"], strict=True):
            ids = frame.gt_ids.tolist()
            assert frame.gt_classes.tolist() == [2 + i - 70 for i in ids]
            for i, mask in zip(ids, frame.gt_masks.tensor, strict=True):
                assert (mask == (picture[i - 70] > BRIGHT)).all()
    assert len(shapes) == (2 if name == "resize" else 1)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_objects_keep_their_places_in_all_frames(tmp_path, name):
    for seed in range(4):
        clip = draw_clip(record_of(tmp_path), AUGMENTATIONS[name], seed)
        ids = [frame.gt_ids.tolist() for frame in clip["instances"]]
        assert ids == [ids[0]] * 5 and ids[0] in ([70, 71], [70], [71])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_half_labeled_clips_keep_truth_on_their_first_frame(tmp_path, name):
    record = record_of(tmp_path, "v1s", labeled=[0])
    for seed in range(4):
        clip = draw_clip(record, AUGMENTATIONS[name], seed)
        assert clip["labeled"].tolist() == [True, False, False, False, False]
        for frame in clip["instances"][1:]:
            assert not frame.gt_masks.tensor.any()
        first = clip["instances"][0]
        for i, mask in zip(first.gt_ids.tolist(), first.gt_masks.tensor, strict=True):
            assert (mask == (clip["image"][0, i - 70] > BRIGHT)).all()


def test_flipping_is_drawn_for_the_clip_as_a_whole(tmp_path):
    record = record_of(tmp_path)
    plain = draw_clip(record, {}, 0)["image"]
    seen = set()
    for seed in range(12):
        image = draw_clip(record, AUGMENTATIONS["flip"], seed)["image"]
        flipped = [
            bool((frame == before.flip(-1)).all())
            for frame, before in zip(image, plain, strict=True)
        ]
        kept = [bool((frame == before).all()) for frame, before in zip(image, plain, strict=True)]
        assert all(flipped) or all(kept)
        seen.add(flipped[0])
    assert seen == {True, False}
