"""Reads a folder of the user's videos with color labels as records for Detectron2's catalog.

    <folder>/<video>/frames/<frame>.jpg        also .jpeg and .png
    <folder>/<video>/labels_rgb/<frame>.png    palette colors; optional per frame
    <folder>/<video>/audio.wav                 or another audio.*; without it, silence

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
    """Read a folder as described above; the sounding objects of a video are its label classes.

    Args:
        folder: has one folder per video.
        names: the K names; name k has color k of `voc_palette(K + 1)`.
        frames_per_second: rate of the frames, which are sorted by number (or name); the first one
            is at the start of the audio.
        training: make annotations, and skip videos without labels.

    Returns:
        Records as `load_records` makes them.

    Raises:
        ValueError: there is no video, or an image is broken or has other colors.
    """
    videos = sorted(path for path in Path(folder).iterdir() if (path / "frames").is_dir())
    if not videos:
        raise ValueError(f"'{folder}': no videos found, expected folders <video>/frames")
    records = [_record(video, names, frames_per_second, training) for video in videos]
    if training:
        records = [record for record in records if any(record["label_files"])]
        annotations = (a for record in records for a in record["annotations"])
        for number, annotation in enumerate(annotations, start=1):
            annotation["id"] = number
    if not records:
        raise ValueError(f"'{folder}': no video has a label image to train on")
    return records


def _record(video: Path, names: Sequence[str], rate: float, training: bool) -> dict:
    frames = sorted(
        (path for path in (video / "frames").iterdir() if path.suffix.lower() in _FRAME_SUFFIXES),
        key=lambda path: (int(path.stem) if path.stem.isdecimal() else -1, path.stem),
    )
    if not frames:
        raise ValueError(f"'{video / 'frames'}': no frames found, expected .jpg or .png files")
    width, height = frame_size(frames[0])
    files = [video / "labels_rgb" / f"{frame.stem}.png" for frame in frames]
    labels = [_read_labels(file, len(names) + 1) if file.is_file() else None for file in files]
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
        resized = [None if ids is None else resize_labels(ids, (height, width)) for ids in labels]
        record["annotations"] = annotations_from_labels(resized, sorted(found))
    return record


def _read_labels(path: Path, num_colors: int) -> np.ndarray:
    labels, unknown = read_labels(path, num_colors)
    if unknown:
        raise ValueError(
            f"'{path}': {unknown} pixels are not in the first {num_colors} colors of the "
            "Pascal VOC palette; draw labels without smoothing and save them as PNG"
        )
    return labels
