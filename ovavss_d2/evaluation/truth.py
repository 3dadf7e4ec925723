"""True class ids of a video's frames, from colour labels or from annotations."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ovavss_d2.data.avsbench import read_labels
from ovavss_d2.data.mapper import decode_masks


def true_frames(video: dict, metadata: Any) -> Iterator[tuple[int, np.ndarray]]:
    """Give the truth of every frame that has any.

    Args:
        video: the model's input: `label_files` (None for a frame without truth) or `annotations`
            with `height`, `width`; `labelled`, where present, tells the frames that have truth.
        metadata: the data set's entry of `MetadataCatalog`.

    Yields:
        The frame's place in the video and its ids, uint8 (H, W).
    """
    num_classes = 1 + len(metadata.names)
    labelled = video.get("labelled")
    for i in range(len(video["file_names"])):
        if labelled is not None and not labelled[i]:
            continue
        ids = _true_ids(video, i, num_classes)
        if ids is not None:
            yield i, ids


def _true_ids(video: dict, i: int, num_classes: int) -> np.ndarray | None:
    if video.get("label_files"):
        path = video["label_files"][i]
        return None if path is None else read_labels(path, num_classes)[0]
    if video.get("annotations") is not None:  # an empty list says that nothing sounds
        return draw_annotations(video["annotations"], i, (video["height"], video["width"]))
    return None


def named_ids(names: Sequence[str] | None, metadata: Any) -> np.ndarray:
    """What the AVSBench-OV protocol makes of true ids: 0 for classes that a video does not name.

    Args:
        names: the video's sounding objects; None: all classes count.
        metadata: the data set's entry of `MetadataCatalog`.

    Returns:
        uint8 (K,), the new id of each id.
    """
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
    if not annotations:
        return ids
    masks = decode_masks([annotation["segmentations"][i] for annotation in annotations], *size)
    for annotation, mask in zip(annotations, masks, strict=True):
        ids[mask.astype(bool)] = annotation["category_id"]
    return ids
