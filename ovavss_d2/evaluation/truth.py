"""True class ids of a video's frames, from colour labels or from annotations."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ovavss_d2.data.label_maps import read_labels
from ovavss_d2.data.masks import labels_from_annotations


def true_frames(video: dict, metadata: Any) -> Iterator[tuple[int, np.ndarray]]:
    """Give the truth of every frame that has any.

    Args:
        video: the model's input: `label_files` (None for a frame without truth) or `annotations`
            with `height`, `width`; `labeled`, where present, tells the frames that have truth.
        metadata: the data set's entry of `MetadataCatalog`.

    Yields:
        The frame's place in the video and its ids, uint8 (H, W).
    """
    num_classes = 1 + len(metadata.names)
    labeled = video.get("labeled")
    for i in range(len(video["file_names"])):
        if labeled is not None and not labeled[i]:
            continue
        ids = _true_ids(video, i, num_classes)
        if ids is not None:
            yield i, ids


def _true_ids(video: dict, i: int, num_classes: int) -> np.ndarray | None:
    if video.get("label_files"):
        path = video["label_files"][i]
        return None if path is None else read_labels(path, num_classes)[0]
    if video.get("annotations") is not None:  # an empty list says that nothing sounds
        return labels_from_annotations(video["annotations"], i, (video["height"], video["width"]))
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
