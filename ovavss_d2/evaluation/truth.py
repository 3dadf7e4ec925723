"""True class ids of a video's frames, from label images or annotations."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ovavss_d2.data.label_maps import read_labels
from ovavss_d2.data.masks import labels_from_annotations


def true_frames(video: dict, metadata: Any) -> Iterator[tuple[int, np.ndarray]]:
    """Read the ground truth of every frame that has any.

    Args:
        video: the model's input: `label_files` (None for a frame without ground truth) or
            `annotations` with `height`, `width`; optionally `labeled`, the frames to use.
        metadata: the data set's entry in `MetadataCatalog`.

    Yields:
        The frame's index and its ids, uint8 (H, W); `VOID` where a pixel is not labeled.
    """
    labeled = video.get("labeled")
    for i in range(len(video["file_names"])):
        if labeled is None or labeled[i]:
            ids = _true_ids(video, i, 1 + len(metadata.names))
            if ids is not None:
                yield i, ids


def _true_ids(video: dict, i: int, num_classes: int) -> np.ndarray | None:
    if video.get("label_files"):
        path = video["label_files"][i]
        return None if path is None else read_labels(path, num_classes)[0]
    if video.get("annotations") is not None:  # an empty list: nothing sounds
        return labels_from_annotations(video["annotations"], i, (video["height"], video["width"]))
    return None


def named_ids(names: Sequence[str] | None, metadata: Any) -> np.ndarray:
    """Map true ids to those of the AVSBench-OV protocol, which ignores other classes than `names`.

    Args:
        names: the video's sounding objects; None: all classes are kept.
        metadata: the data set's entry in `MetadataCatalog`.

    Returns:
        uint8 (256,), the new id of each id: itself or 0.
    """
    ids = np.arange(256, dtype=np.uint8)
    if names is not None:
        ids[: 1 + len(metadata.names)] *= np.isin(("", *metadata.names), list(names))
    return ids
