"""True class ids of a video's frames, from colour labels or from annotations."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ovavss_d2.data.avsbench import read_labels
from ovavss_d2.data.mapper import decode_masks


def true_frames(video: dict, metadata: Any) -> Iterator[tuple[int, np.ndarray]]:
    """Give the truth of every frame that has any.

    Classes that are not among the video's own `names` become background, as the AVSBench-OV
    protocol says.

    Args:
        video: the model's input: `names` (None: all count), and `label_files` (None for a frame
            without truth) or `annotations` with `height`, `width`; `labelled`, where present, tells
            the frames that have truth.
        metadata: the data set's entry of `MetadataCatalog`.

    Yields:
        The frame's place in the video and its ids, uint8 (H, W).
    """
    kept = _kept_ids(video.get("names"), metadata)
    labelled = video.get("labelled")
    for i in range(len(video["file_names"])):
        if labelled is not None and not labelled[i]:
            continue
        ids = _true_ids(video, i, len(kept), metadata)
        if ids is not None:
            yield i, kept[ids]


def _true_ids(video: dict, i: int, num_classes: int, metadata: Any) -> np.ndarray | None:
    if video.get("label_files"):
        path = video["label_files"][i]
        return None if path is None else read_labels(path, num_classes)[0]
    if video.get("annotations"):
        return draw_annotations(video["annotations"], i, (video["height"], video["width"]))
    return None


def _kept_ids(names: list[str] | None, metadata: Any) -> np.ndarray:
    """For each id, itself or 0: uint8 (K,)."""
    ids = np.arange(1 + len(metadata.names), dtype=np.uint8)
    if names is not None:
        ids *= np.isin(("", *metadata.names), list(names))
    return ids


def draw_annotations(annotations: list[dict], i: int, size: tuple[int, int]) -> np.ndarray:
    """Draw a frame's objects over each other, in their order.

    Args:
        annotations: with `category_id` and `segmentations`: per frame an RLE (compressed or not),
            polygons or None.
        i: the frame.
        size: (H, W).

    Returns:
        uint8 (H, W) category ids, 0 where there is no object.
    """
    ids = np.zeros(size, np.uint8)
    masks = decode_masks([annotation["segmentations"][i] for annotation in annotations], *size)
    for annotation, mask in zip(annotations, masks, strict=True):
        ids[mask.astype(bool)] = annotation["category_id"]
    return ids
