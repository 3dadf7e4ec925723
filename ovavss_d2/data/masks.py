"""Masks in COCO's formats: run-length encoding (RLE) and polygons.

pycocotools does not check what it decodes and can end the process, so everything is checked first,
and RLE is decoded here.

Shapes: N masks, L frames of a video, H W pixels, R runs of an RLE, D characters of its text.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as rle

from ovavss_d2.data.json_value import describe

_DIGIT_BITS = 5  # per character of compressed counts
_MAX_DIGITS = 12  # per count; 60 bits
# A polygon may extend beyond the frame by this multiple of H + W.
_MARGIN = 10


def encode_mask(mask: np.ndarray) -> dict | None:
    """Encode a bool (H, W) mask as compressed RLE with text counts; None if it is empty."""
    if not mask.any():
        return None
    encoded = rle.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode("ascii")}


def check_mask(segmentation: Any, height: int, width: int) -> None:
    """Check a mask as `decode_mask` does, without decoding it."""
    if isinstance(segmentation, list):
        _check_polygons(segmentation, height, width)
    elif segmentation is not None:
        _runs(segmentation, height, width)


def decode_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Decode a mask.

    Args:
        segmentation: None or an empty list (no pixel), RLE (a dict of "size" and "counts", as
            numbers or compressed), or a list of polygons [x, y, x, y, ...].
        height, width: of the frame.

    Returns:
        uint8 (height, width), 0 or 1.

    Raises:
        ValueError: the mask is broken or has another size.
    """
    if not isinstance(segmentation, list | None):
        runs = _runs(segmentation, height, width)
        values = np.arange(len(runs), dtype=np.int64).astype(np.uint8) & 1
        return np.repeat(values, runs).reshape(width, height).T
    if not segmentation:
        return np.zeros((height, width), np.uint8)
    _check_polygons(segmentation, height, width)
    return rle.decode(rle.merge(rle.frPyObjects(segmentation, height, width)))


def decode_masks(segmentations: Iterable[Any], height: int, width: int) -> np.ndarray:
    """Decode N masks of one size, see `decode_mask`: uint8 (N, height, width)."""
    return np.stack([decode_mask(segmentation, height, width) for segmentation in segmentations])


def _runs(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Lengths of an RLE's runs, alternately outside and inside the mask: int64 (R,)."""
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        raise ValueError("expected a mask: null, RLE with 'size' and 'counts', or polygons")
    if segmentation["size"] not in ([height, width], (height, width)):
        raise ValueError(
            f"the mask's size is {describe(segmentation['size'])}, expected the frame's "
            f"[{height}, {width}] (height, width)"
        )
    counts = segmentation["counts"]
    if isinstance(counts, str | bytes):
        runs = _decompressed(counts)
    elif isinstance(counts, list) and all(type(n) is int and n < 1 << 62 for n in counts):
        runs = np.array(counts, np.int64)
    else:
        raise ValueError("the mask's 'counts' are neither integers nor compressed text")
    # Of valid runs none is longer than the sum, which so cannot overflow.
    in_range = ((runs >= 0) & (runs <= height * width)).all()
    if not in_range or runs.sum() != height * width:
        raise ValueError(
            f"the mask's 'counts' do not add up to its {height} x {width} pixels; it is damaged"
        )
    return runs


def _decompressed(counts: str | bytes) -> np.ndarray:
    """The runs of compressed counts: int64 (R,), which can be negative if the text is damaged.

    A character is 48 + five bits of a number, lowest first, + 32 if more follow; the last one has
    the sign in bit 4. From the fourth number on, it is the difference to the last but one run.
    """
    characters = counts.encode() if isinstance(counts, str) else counts
    digits = np.frombuffer(characters, np.uint8).astype(np.int64) - 48
    is_last = digits & 32 == 0
    ends = np.flatnonzero(is_last)
    if not len(digits) or not is_last[-1] or digits.min() < 0 or digits.max() > 63:
        raise ValueError("the mask's 'counts' are not compressed RLE; it is damaged")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > _MAX_DIGITS:
        raise ValueError("the mask's 'counts' have a number that is too large; it is damaged")
    shifts = _DIGIT_BITS * (np.arange(len(digits)) - np.repeat(starts, lengths))
    runs = np.add.reduceat((digits & 31) << shifts, starts)
    runs -= (digits[ends] >> 4 & 1) << _DIGIT_BITS * lengths
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def _check_polygons(polygons: list, height: int, width: int) -> None:
    """Check polygons, whose outline determines the memory that pycocotools needs."""
    margin = _MARGIN * (height + width)
    outline = 0.0
    for polygon in polygons:
        if (
            not isinstance(polygon, list)
            or len(polygon) < 6
            or len(polygon) % 2
            or not all(type(number) in (int, float) for number in polygon)
        ):
            raise ValueError("a polygon is not a list of x, y of at least three points")
        if not all(abs(number) <= margin for number in polygon):  # NaN is not either
            raise ValueError(
                f"a polygon has a point far outside the frame of {height} x {width} pixels"
            )
        points = np.array(polygon, np.float64).reshape(-1, 2)
        outline += np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()
    if outline > height * width + _MARGIN * margin:
        raise ValueError(
            f"the outline of a polygon is {outline:.0f} pixels long, too much for a frame of "
            f"{height} x {width} pixels"
        )


def annotations_from_labels(
    labels: Sequence[np.ndarray | None], categories: Iterable[int]
) -> list[dict]:
    """Make one annotation per class of a video.

    Args:
        labels: class ids (H, W) of the L frames; None for a frame without ground truth.
        categories: class ids, from 1; classes without a pixel are skipped.

    Returns:
        Dicts of "category_id", "iscrowd", "bboxes" and "segmentations" (L, RLE or None).
    """
    annotations = []
    for category in categories:
        segmentations = [None if ids is None else encode_mask(ids == category) for ids in labels]
        if any(segmentations):
            boxes = [s and rle.toBbox(s).tolist() for s in segmentations]
            annotations.append(
                {"category_id": category, "iscrowd": 0}
                | {"bboxes": boxes, "segmentations": segmentations}
            )
    return annotations


def labels_from_annotations(
    annotations: list[dict], frame: int, size: tuple[int, int]
) -> np.ndarray:
    """Draw the objects of a frame in their order, later ones over earlier ones.

    Args:
        annotations: each with `category_id` and `segmentations`, one entry per frame as
            `decode_mask` takes it.
        frame: index of the frame.
        size: (H, W).

    Returns:
        uint8 (H, W) category ids, 0 where there is no object.
    """
    ids = np.zeros(size, np.uint8)
    for annotation in annotations:
        mask = decode_mask(annotation["segmentations"][frame], *size)
        ids[mask.astype(bool)] = annotation["category_id"]
    return ids
