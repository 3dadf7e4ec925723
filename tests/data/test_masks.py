"""Masks of COCO's formats; a broken one is an error, never a crash or another mask."""

import json
import subprocess
import sys

import numpy as np
import pytest
from pycocotools import mask as rle

from ovavss_d2.data.masks import (
    check_mask,
    decode_mask,
    decode_masks,
    encode_mask,
    labels_from_annotations,
)


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
    text = packed | {"counts": packed["counts"].decode()}
    numbers = {"size": [10, 12], "counts": [32, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 33]}
    masks = decode_masks([polygon, packed, text, numbers, None, []], 10, 12)
    assert masks.dtype == np.uint8
    assert (masks[:4] == mask).all() and not masks[4:].any()


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (37, 41), (300, 500)])
def test_rle_decodes_as_pycocotools_does(size):
    random = np.random.default_rng(0)
    for share in (0.0, 0.001, 0.1, 0.5, 0.999, 1.0):
        mask = np.asfortranarray(random.random(size) < share, np.uint8)
        encoded = rle.encode(mask)
        assert (decode_mask(encoded, *size) == rle.decode(encoded)).all()


@pytest.mark.parametrize(
    "polygon",
    [
        [-20, -10, 60, 5, 70.5, 90, 3, 40],  # beyond the frame
        [0.5] * 6,
        [-40, -40, -30, -40, -30, -30],
        np.random.default_rng(0).uniform(0, 30, 40).tolist(),
    ],
)
def test_polygons_decode_as_pycocotools_does(polygon):
    expected = rle.decode(rle.merge(rle.frPyObjects([polygon], 24, 32)))
    assert (decode_mask([polygon], 24, 32) == expected).all()


BROKEN = {
    "another size": ({"size": [8, 6], "counts": [48]}, r"size is \[8, 6\], expected .* \[6, 8\]"),
    "no size": ({"counts": [48]}, "expected a mask"),
    "a text as size": ({"size": "ab", "counts": [48]}, "size is 'ab'"),
    "a nested size": ({"size": [[[6]], 8], "counts": [48]}, "size is a list"),
    "too few pixels": ({"size": [6, 8], "counts": [1, 2]}, "do not add up"),
    "too many pixels": ({"size": [6, 8], "counts": [40, 9]}, "do not add up"),
    "no runs": ({"size": [6, 8], "counts": []}, "do not add up"),
    "a negative run": ({"size": [6, 8], "counts": [50, -2]}, "do not add up"),
    "runs that overflow": ({"size": [6, 8], "counts": [2**61] * 8 + [48]}, "do not add up"),
    "a huge run": ({"size": [6, 8], "counts": [10**400]}, "neither integers"),
    "fractions": ({"size": [6, 8], "counts": [20.5, 27.5]}, "neither integers"),
    "no counts": ({"size": [6, 8], "counts": None}, "neither integers"),
    "empty text": ({"size": [6, 8], "counts": ""}, "not compressed RLE"),
    "short text": ({"size": [6, 8], "counts": "51"}, "do not add up"),
    "other characters": ({"size": [6, 8], "counts": "zz"}, "not compressed RLE"),
    "other bytes": ({"size": [6, 8], "counts": b"\xff\x00"}, "not compressed RLE"),
    "other letters": ({"size": [6, 8], "counts": "é"}, "not compressed RLE"),
    "unfinished text": ({"size": [6, 8], "counts": "`"}, "not compressed RLE"),
    "a long number": ({"size": [6, 8], "counts": "o" * 40 + "1"}, "too large"),
    "text": ("abc", "expected a mask"),
    "a number": (3, "expected a mask"),
    "no": (False, "expected a mask"),
    "one flat polygon": ([1, 1, 4, 1, 4, 4], "not a list of x, y"),
    "an odd polygon": ([[1, 1, 4, 1, 4, 4, 5]], "not a list of x, y"),
    "two points": ([[1, 1, 4, 4]], "not a list of x, y"),
    "texts as points": ([["1"] * 6], "not a list of x, y"),
    "points as pairs": ([[[1, 1], [4, 1], [4, 4]] * 2], "not a list of x, y"),
    "NaN": ([[float("nan")] * 6], "far outside"),
    "infinity": ([[float("inf"), 0, 4, 1, 4, 4]], "far outside"),
    "a huge integer": ([[10**400, 0, 4, 1, 4, 4]], "far outside"),
    "a long outline": ([[0, 0, 8, 6] * 9000], "too much for a frame"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_mask_is_an_error(name):
    segmentation, message = BROKEN[name]
    for function in (check_mask, decode_mask):
        with pytest.raises(ValueError, match=message) as error:
            function(segmentation, 6, 8)
        assert "\n" not in str(error.value) and len(str(error.value)) < 200


def test_masks_that_crash_pycocotools_are_errors_in_little_memory():
    code = """
import resource
from ovavss_d2.data.masks import decode_masks
resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))
for mask in (
    {"counts": [1, 2], "size": [1000000, 1000000]},
    {"counts": [1, 2], "size": [72, 96]},
    {"counts": "zz", "size": [72, 96]},
    [[0, 0, 1e9, 1e9, 5, 5]],
    [[1e30] * 6],
):
    try:
        decode_masks([mask], 72, 96)
    except ValueError:
        continue
    raise SystemExit(f"{mask} was decoded")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_later_objects_cover_earlier_ones():
    masks = [encode_mask(np.arange(12).reshape(3, 4) >= first) for first in (2, 6)]
    annotations = [
        {"category_id": k, "segmentations": [None, mask]}
        for k, mask in zip((7, 5), masks, strict=True)
    ]
    drawn = labels_from_annotations(annotations, 1, (3, 4))
    assert drawn.ravel().tolist() == [0] * 2 + [7] * 4 + [5] * 6
    assert not labels_from_annotations(annotations, 0, (3, 4)).any()
