"""Masks in COCO's formats: run-length encoding (RLE) and polygons.

Shapes: N masks, L frames of a video, H W pixels.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as rle


def encode_mask(mask: np.ndarray) -> dict | None:
    """Encode a bool (H, W) mask as compressed RLE with text counts; None if it is empty."""
    if not mask.any():
        return None
    encoded = rle.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode("ascii")}


def decode_masks(segmentations: Iterable[Any], height: int, width: int) -> np.ndarray:
    """Decode N masks of one size.

    Args:
        segmentations: for each mask None (empty), RLE (counts as text or numbers), or a list of
            polygons.
        height, width: of the frame.

    Returns:
        uint8 (N, height, width).

    Raises:
        ValueError: a mask is broken or has another size.
    """
    masks = []
    for segmentation in segmentations:
        mask = np.zeros((height, width), np.uint8)
        if segmentation:
            try:
                mask = _decode(segmentation, height, width)
            except (TypeError, KeyError, IndexError, ValueError) as error:
                raise ValueError(f"broken mask ({type(error).__name__}: {error})") from error
        if mask.shape != (height, width):
            raise ValueError(f"the mask is {mask.shape}, expected the frame's {(height, width)}")
        masks.append(mask)
    return np.stack(masks)


def _decode(segmentation: Any, height: int, width: int) -> np.ndarray:
    if isinstance(segmentation, list):
        if any(len(polygon) < 6 or len(polygon) % 2 for polygon in segmentation):
            raise ValueError("a polygon needs x, y of at least three points")
        segmentation = rle.merge(rle.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        segmentation = rle.frPyObjects(segmentation, height, width)
    return rle.decode(segmentation)


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
            `decode_masks` takes it.
        frame: index of the frame.
        size: (H, W).

    Returns:
        uint8 (H, W) category ids, 0 where there is no object.
    """
    ids = np.zeros(size, np.uint8)
    if annotations:
        masks = decode_masks((a["segmentations"][frame] for a in annotations), *size)
        for annotation, mask in zip(annotations, masks, strict=True):
            ids[mask.astype(bool)] = annotation["category_id"]
    return ids
