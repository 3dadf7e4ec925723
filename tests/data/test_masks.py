import json

import numpy as np
from pycocotools import mask as rle

from ovavss_d2.data.masks import decode_masks, encode_mask


def test_masks_survive_json():
    mask = np.random.default_rng(0).random((7, 11)) > 0.5
    encoded = json.loads(json.dumps(encode_mask(mask)))
    assert (decode_masks([encoded], 7, 11)[0] == mask).all()
    assert encode_mask(np.zeros((3, 3), bool)) is None


def test_all_mask_formats_are_equivalent():
    mask = np.zeros((10, 12), np.uint8)
    mask[2:7, 3:9] = 1
    polygon = [[3, 2, 9, 2, 9, 7, 3, 7]]
    packed = rle.encode(np.asfortranarray(mask))
    numbers = {"size": [10, 12], "counts": [32, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 33]}
    masks = decode_masks([polygon, packed, numbers, None], 10, 12)
    assert (masks[:3] == mask).all() and not masks[3].any()
