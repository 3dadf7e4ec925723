"""Evaluates saved label maps, of this project or any other system.

    <folder>/<video>/<frame>.png        one per frame, with the frame's file name

The pixels of gray images are class ids; color images (indexed or RGB) have the data set's colors.
Any size is possible. Shape letters: L frames of a video, H W pixels.
"""

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils import comm

from ovavss_d2.data.label_maps import GRAY_MODES, labels_from_colors
from ovavss_d2.evaluation.evaluator import AVSSEvaluator
from ovavss_d2.media.images import LABEL_FORMATS, open_image


def score_saved(
    dataset_name: str, folder: str | os.PathLike, output_dir: str | os.PathLike | None
) -> OrderedDict | None:
    """Evaluate saved label maps on a registered data set, in all processes.

    Args:
        dataset_name: the data set; each of its frames needs a label map.
        folder: the label maps.
        output_dir: folder for the reports.

    Returns:
        See `AVSSEvaluator.evaluate`.

    Raises:
        FileNotFoundError: the folder or a label map is missing.
        ValueError: a label map is not an image, or has an id or color without a class.
    """
    metadata = MetadataCatalog.get(dataset_name)
    records = DatasetCatalog.get(dataset_name)
    _check_files(folder, records)
    evaluator = AVSSEvaluator(dataset_name, output_dir=output_dir)
    for record in records[comm.get_rank() :: comm.get_world_size()]:
        evaluator.process([record], [_read_video(folder, record, metadata)])
    return evaluator.evaluate()


def _check_files(folder: str | os.PathLike, records: Sequence[dict]) -> None:
    """Check all files first, because a missing one must not count as background."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"TEST.PREDICTIONS '{folder}' does not exist; give a folder of PNG label maps"
        )
    files = [path for record in records for path in _files(folder, record)]
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"TEST.PREDICTIONS '{folder}' lacks {len(missing)} of {len(files)} label maps, "
            f"the first is '{missing[0]}'; see docs/BENCHMARK.md for their names"
        )


def _files(folder: str | os.PathLike, record: dict) -> list[Path]:
    video = Path(folder, str(record["video_id"]))
    return [video / f"{Path(name).stem}.png" for name in record["file_names"]]


def _read_video(folder: str | os.PathLike, record: dict, metadata: Any) -> dict:
    """Read a video's label maps as the model's output: `label_map` (L, H, W) int32, `names`."""
    maps = [read_label_map(path, 1 + len(metadata.names)) for path in _files(folder, record)]
    sizes = {ids.shape for ids in maps}
    if len(sizes) > 1:
        raise ValueError(
            f"label maps of video '{record['video_id']}' have the sizes {sorted(sizes)}, "
            "expected one size per video"
        )
    return {"label_map": torch.from_numpy(np.stack(maps)), "names": tuple(metadata.names)}


def read_label_map(path: str | os.PathLike, num_classes: int) -> np.ndarray:
    """Read class ids, int32 (H, W), from a gray or color image.

    Raises:
        ValueError: it is not a PNG image, or has an id or color without a class.
    """
    with open_image(path, "label map", LABEL_FORMATS) as image:
        is_gray = image.mode in GRAY_MODES
        pixels = np.asarray(image if is_gray else image.convert("RGB"))
    if not is_gray:
        ids, unknown = labels_from_colors(pixels, num_classes)
        if unknown:
            raise ValueError(
                f"'{path}': {unknown} pixels have none of the data set's {num_classes} colors; "
                "save class ids as a gray image, or use the colors in MetadataCatalog"
            )
        return ids.astype(np.int32)
    ids = pixels.astype(np.int32)
    if ids.size and not 0 <= ids.min() <= ids.max() < num_classes:
        raise ValueError(
            f"'{path}': the ids are {ids.min()} to {ids.max()}, expected 0 to {num_classes - 1}"
        )
    return ids
