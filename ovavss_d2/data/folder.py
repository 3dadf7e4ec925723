"""A folder of videos of one's own, with colour labels, as records for Detectron2's catalog.

    <folder>/<video>/frames/<frame>.jpg         also .jpeg and .png
    <folder>/<video>/labels_rgb/<frame>.png     in palette colours; a frame without one has no truth
    <folder>/<video>/audio.wav                  or another audio.*; without it there is silence

Shapes: L frames of a video, K names, H W pixels.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ovavss_d2.data.avsbench import frame_size
from ovavss_d2.data.label_maps import read_labels, resize_labels
from ovavss_d2.data.masks import annotations_from_labels

_FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")


def load_folder(
    folder: str | os.PathLike, names: Sequence[str], frames_per_second: float, training: bool
) -> list[dict]:
    """Read a folder of the form above; what sounds in a video are the classes of its labels.

    Args:
        folder: holds a folder per video.
        names: the K names; the k-th is drawn in colour k of `voc_palette(K + 1)`.
        frames_per_second: the frames, in the order of their numbers (or names), are that far apart;
            the first stands at the start of the sound.
        training: make annotations, and leave videos without truth out.

    Returns:
        Records as `load_records` makes them.

    Raises:
        ValueError: there is no video, or a picture is broken or in other colours; the line says
            which.
    """
    videos = sorted(path for path in Path(folder).iterdir() if (path / "frames").is_dir())
    if not videos:
        raise ValueError(f"'{folder}': no video in it, expected folders <video>/frames")
    records = [_record(video, names, frames_per_second, training) for video in videos]
    if training:
        records = [record for record in records if any(record["label_files"])]
        number = 0
        for record in records:
            for annotation in record["annotations"]:
                number += 1
                annotation["id"] = number
    if not records:
        raise ValueError(f"'{folder}': no video in it has a label picture to train on")
    return records


def _record(video: Path, names: Sequence[str], rate: float, training: bool) -> dict:
    frames = sorted(
        (path for path in (video / "frames").iterdir() if path.suffix.lower() in _FRAME_SUFFIXES),
        key=_frame_order,
    )
    if not frames:
        raise ValueError(f"'{video / 'frames'}': no frame in it, expected .jpg or .png files")
    width, height = frame_size(frames[0])
    files = [video / "labels_rgb" / f"{frame.stem}.png" for frame in frames]
    labels = [_read(file, len(names) + 1) if file.is_file() else None for file in files]
    found = {int(i) for ids in labels if ids is not None for i in np.unique(ids)} - {0}
    record = {
        "video_id": video.name,
        "subset": "all",
        "height": height,
        "width": width,
        "file_names": [str(frame) for frame in frames],
        "times": [i / rate for i in range(len(frames))],
        "audio_file": next(map(str, sorted(video.glob("audio.*"))), None),
        "names": [names[i - 1] for i in sorted(found)],
        "label_files": [
            None if ids is None else str(file) for file, ids in zip(files, labels, strict=True)
        ],
    }
    if training:
        fitted = [None if ids is None else resize_labels(ids, (height, width)) for ids in labels]
        record["annotations"] = annotations_from_labels(fitted, sorted(found))
    return record


def _frame_order(path: Path) -> tuple[int, str]:
    return (int(path.stem) if path.stem.isdecimal() else -1), path.stem


def _read(path: Path, num_colors: int) -> np.ndarray:
    labels, unknown = read_labels(path, num_colors)
    if unknown:
        raise ValueError(
            f"'{path}': {unknown} pixels are in none of the first {num_colors} colours of the "
            "Pascal VOC palette; draw labels without smoothing and save them as PNG"
        )
    return labels
