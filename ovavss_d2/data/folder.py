"""Reads a folder of the user's videos with color labels as records for Detectron2's catalog.

    <folder>/<video>/frames/<frame>.jpg        also .jpeg and .png
    <folder>/<video>/labels_rgb/<frame>.png    optional per frame, see `read_labels`
    <folder>/<video>/audio.wav                 or .mp3, .flac, ...; without it, silence

Hidden files, such as "._0.jpg", are ignored.
Shapes: L frames of a video, K names, H W pixels.
"""

import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ovavss_d2.data.avsbench import frame_size
from ovavss_d2.data.label_maps import VOID, read_labels, resize_labels
from ovavss_d2.data.masks import annotations_from_labels
from ovavss_d2.media.source import AUDIO_ENDINGS, FRAME_RATES

_FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")
_VIDEO_ENDINGS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
_AUDIO_ENDINGS = (*AUDIO_ENDINGS, ".aif", ".aiff", ".wma", ".mka", *_VIDEO_ENDINGS)


def load_folder(
    folder: str | os.PathLike, names: Sequence[str], frames_per_second: float, training: bool
) -> list[dict]:
    """Read a folder as described above; the sounding objects of a video are its label classes.

    Args:
        folder: has one folder per video.
        names: the K names; name k has color k of `voc_palette(K + 1)`.
        frames_per_second: rate of the frames, which are sorted by the numbers in their names; the
            first one is at the start of the audio.
        training: make annotations, and skip videos without labels.

    Returns:
        Records as `load_records` makes them.

    Raises:
        ValueError: there is no video, or an image is broken or has other colors, or the rate is
            wrong.
    """
    check_rate(frames_per_second)
    videos = sorted(
        path
        for path in Path(folder).iterdir()
        if (path / "frames").is_dir() and not path.name.startswith(".")
    )
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


def check_rate(frames_per_second: float) -> None:
    """Raise a `ValueError` if it is not a number in `FRAME_RATES`."""
    low, high = FRAME_RATES
    if not (isinstance(frames_per_second, int | float) and low <= frames_per_second <= high):
        raise ValueError(
            f"frames_per_second is {frames_per_second!r}, expected a number from {low:g} to "
            f"{high:g}"
        )


def find_audio(video: Path) -> str | None:
    """The file `audio.*` in a video's folder that has audio; audio.wav if there are several."""
    files = {file.suffix.lower(): file for file in sorted(video.glob("audio.*")) if file.is_file()}
    return next((str(files[ending]) for ending in _AUDIO_ENDINGS if ending in files), None)


def _record(video: Path, names: Sequence[str], rate: float, training: bool) -> dict:
    frames = _find_frames(video / "frames")
    width, height = frame_size(frames[0])
    files = [video / "labels_rgb" / f"{frame.stem}.png" for frame in frames]
    labels = [_read_labels(file, len(names) + 1) if file.is_file() else None for file in files]
    found = {int(i) for ids in labels if ids is not None for i in np.unique(ids)} - {0, VOID}
    record = {
        "video_id": video.name,
        "subset": "all",
        "height": height,
        "width": width,
        "file_names": [str(frame) for frame in frames],
        "times": [i / rate for i in range(len(frames))],
        "audio_file": find_audio(video),
        "names": [names[i - 1] for i in sorted(found)],
        "label_files": [
            None if ids is None else str(file) for file, ids in zip(files, labels, strict=True)
        ],
    }
    if training:
        resized = [None if ids is None else resize_labels(ids, (height, width)) for ids in labels]
        record["annotations"] = annotations_from_labels(resized, sorted(found))
    return record


def _find_frames(folder: Path) -> list[Path]:
    frames = sorted(
        (
            path
            for path in folder.iterdir()
            if path.suffix.lower() in _FRAME_SUFFIXES
            and not path.name.startswith(".")
            and path.is_file()
        ),
        key=_by_numbers,
    )
    if not frames:
        raise ValueError(f"'{folder}': no frames found, expected .jpg or .png files")
    for first, second in itertools.pairwise(frames):
        if first.stem == second.stem:
            raise ValueError(
                f"'{folder}': {first.name} and {second.name} are one frame; remove one of them"
            )
    return frames


def _by_numbers(path: Path) -> tuple[list[str | int], str]:
    """Sort key that puts "frame_2" before "frame_10"."""
    parts = re.split(r"(\d+)", path.stem)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path.stem


def _read_labels(path: Path, num_colors: int) -> np.ndarray:
    labels, unknown = read_labels(path, num_colors)
    if unknown:
        raise ValueError(
            f"'{path}': {unknown} pixels are not in the first {num_colors} colors of the Pascal "
            f"VOC palette (or, in a gray image, not ids from 0 to {num_colors - 1} or {VOID}, "
            "which is not labeled); draw labels without smoothing and save them as PNG"
        )
    return labels
