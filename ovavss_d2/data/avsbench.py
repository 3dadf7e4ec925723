"""AVSBench-semantic: reads its metadata and checks its videos.

    <root>/metadata.csv       vid,uid,s_min,s_sec,a_obj,split,label
    <root>/label2idx.json     name -> id, "background" -> 0
    <root>/<subset>/<uid>/    frames/<i>.jpg  labels_rgb/<i>.png  audio.wav

Frame i is at i seconds. Shapes: L frames of a video, K names, H W pixels.
"""

import csv
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import ImageOps

from ovavss_d2.data.label_maps import read_labels, resize_labels
from ovavss_d2.data.masks import annotations_from_labels
from ovavss_d2.files import read_json
from ovavss_d2.media.audio import read_audio
from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.media.images import check_shape, open_image

logger = logging.getLogger(__name__)

FRAMES_OF_SUBSET = {"v1s": 5, "v1m": 5, "v2": 10}
MAX_SECONDS = 86400  # time of a frame
SUBSETS = tuple(FRAMES_OF_SUBSET)
SPLITS = ("train", "val", "test")
MISSING_AUDIO = "missing audio (silence is used)"
BROKEN_AUDIO = "broken audio (silence is used)"
_COLUMNS = ("uid", "a_obj", "split", "label")


@dataclass(frozen=True)
class VideoInfo:
    """A row of metadata.csv: video id, subset, split, and the names of the sounding objects."""

    uid: str
    subset: str
    split: str
    names: tuple[str, ...]


@dataclass
class VideoScan:
    """The content of a video's folder.

    Attributes:
        video: its entry in the YouTube-VIS style JSON, without an id; None if it is not usable.
        annotations: one per class, see `annotations_from_labels`.
        problems: pairs (kind, path).
    """

    video: dict[str, Any] | None = None
    annotations: list[dict] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)


def read_metadata(root: str | os.PathLike) -> tuple[list[VideoInfo], tuple[str, ...]]:
    """Read metadata.csv and label2idx.json.

    Returns:
        The videos in file order, and the K names in the order of their ids.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is broken.
    """
    return _read_videos(os.path.join(root, "metadata.csv")), _read_names(root)


def _read_videos(path: str) -> list[VideoInfo]:
    videos: dict[str, VideoInfo] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [c for c in _COLUMNS if c not in (reader.fieldnames or ())]
            if missing:
                raise ValueError(f"'{path}' line 1: the header lacks {', '.join(missing)}")
            for row in reader:
                video = _parse_row(row, f"'{path}' line {reader.line_num}")
                if videos.setdefault(video.uid, video) is not video:
                    logger.warning("'%s' line %d: duplicate %s", path, reader.line_num, video.uid)
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"'{path}': not a CSV text file ({error})") from error
    return list(videos.values())


def _parse_row(row: dict[str, str], line: str) -> VideoInfo:
    empty = [c for c in _COLUMNS if row[c] is None or (c != "a_obj" and not row[c].strip())]
    if empty:
        raise ValueError(f"{line}: no value for {', '.join(empty)}")
    no_folder = [c for c in ("uid", "label") if not is_folder_name(row[c].strip())]
    if no_folder:
        raise ValueError(f"{line}: {no_folder[0]} '{row[no_folder[0]]}' is not a folder's name")
    split = row["split"].strip()
    if split not in SPLITS:
        raise ValueError(f"{line}: split '{split}', expected one of {', '.join(SPLITS)}")
    names = tuple(dict.fromkeys(n.strip() for n in row["a_obj"].split("_") if n.strip()))
    return VideoInfo(row["uid"].strip(), row["label"].strip(), split, names)


def is_folder_name(name: str) -> bool:
    """Whether a name is that of a folder in the same folder."""
    return name not in ("", ".", "..") and not {"/", "\0"} & set(name)


def _read_names(root: str | os.PathLike) -> tuple[str, ...]:
    path = os.path.join(root, "label2idx.json")
    try:
        ids = read_json(path, "get it from AVSBench-semantic again")
    except FileNotFoundError as error:
        raise _missing(path) from error
    if (
        not isinstance(ids, dict)
        or ids.get("background") != 0
        or not all(i in ids.values() for i in range(len(ids)))
    ):
        raise ValueError(f"'{path}': expected 'background' with id 0 and names with ids 1 to K")
    return tuple(sorted(ids, key=ids.__getitem__))[1:]


def _missing(path: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"'{path}' is missing: it comes with AVSBench-semantic, see datasets/README.md"
    )


def scan_video(
    root: str, info: VideoInfo, names: Sequence[str], with_masks: bool = True
) -> VideoScan:
    """Read and check a video's folder.

    Training videos of v1s have labels on frame 0 only. Broken and missing frames are skipped,
    labels are resized to their frames, and unknown colors are background. Classes that the
    metadata do not name get no annotation.

    Args:
        root: AVSBench-semantic's folder.
        info: the video.
        names: the K names.
        with_masks: make annotations.
    """
    scan = VideoScan()
    folder = f"{info.subset}/{info.uid}"
    frames = _find_frames(root, folder, info, scan)
    if not frames:
        scan.problems.append(("video without readable frames (skipped)", folder))
        return scan
    width, height = next(iter(frames.values()))
    if any(size != (width, height) for size in frames.values()):
        scan.problems.append(("frames of different sizes", folder))
    labels = _read_labels(root, folder, info, frames, len(names) + 1, scan)
    if with_masks and not labels:
        scan.problems.append(("video without labels (skipped)", folder))
        return scan
    audio = f"{folder}/audio.wav"
    audio_kind = audio_problem(os.path.join(root, audio), last_time=float(max(frames)))
    if audio_kind:
        scan.problems.append((audio_kind, audio))
    unknown = [name for name in info.names if name not in names]
    scan.problems += [("name missing from label2idx.json", f"{folder}: {n}") for n in unknown]
    sounding = [name for name in info.names if name in names]
    scan.video = {
        "name": info.uid,
        "label": info.subset,
        "length": len(frames),
        "height": height,
        "width": width,
        "names": sounding,
        "times": [float(i) for i in frames],
        "file_names": [f"{folder}/frames/{i}.jpg" for i in frames],
        "label_files": [f"{folder}/labels_rgb/{i}.png" if i in labels else None for i in frames],
        "audio_file": None if audio_kind in (MISSING_AUDIO, BROKEN_AUDIO) else audio,
    }
    if with_masks:
        categories = sorted(names.index(name) + 1 for name in sounding)
        scan.annotations = annotations_from_labels([labels.get(i) for i in frames], categories)
    return scan


def _find_frames(
    root: str, folder: str, info: VideoInfo, scan: VideoScan
) -> dict[int, tuple[int, int]]:
    """Numbers and (width, height) of the readable frames, in ascending order."""
    path = os.path.join(root, folder, "frames")
    files = os.listdir(path) if os.path.isdir(path) else []
    stems = (os.path.splitext(name) for name in files)
    numbers = {int(stem) for stem, suffix in stems if suffix == ".jpg" and stem.isdecimal()}
    numbers = {number for number in numbers if number <= MAX_SECONDS}
    expected = FRAMES_OF_SUBSET.get(info.subset)
    if expected is not None:
        for i in sorted(set(range(expected)) ^ numbers):
            kind = "missing frame" if i < expected else "extra frame (used)"
            scan.problems.append((kind, f"{folder}/frames/{i}.jpg"))
    sizes = {}
    for i in sorted(numbers):
        try:
            sizes[i] = frame_size(os.path.join(path, f"{i}.jpg"))
        except ValueError:
            scan.problems.append(("broken frame", f"{folder}/frames/{i}.jpg"))
    return sizes


def frame_size(path: str | os.PathLike) -> tuple[int, int]:
    """Decode a whole frame and return its (width, height), upright.

    Raises:
        ValueError: the file is missing, not an image, or truncated.
    """
    try:
        with open_image(path, "frame") as image:
            ImageOps.exif_transpose(image, in_place=True)
            image.load()
            check_shape(path, image.height, image.width)
            return image.size
    except FileNotFoundError as error:
        raise ValueError(str(error)) from error


def audio_problem(path: str | os.PathLike, last_time: float) -> str | None:
    """Check the audio file of a video whose last frame is at `last_time` seconds."""
    if not os.path.isfile(path):
        return MISSING_AUDIO
    try:
        audio = read_audio(path)
    except (ValueError, OSError):
        return BROKEN_AUDIO
    if not audio.any():
        return "audio is digital silence"
    if len(audio) <= last_time * SAMPLE_RATE:
        return "audio ends before the last frame (padded with silence)"
    return None


def _read_labels(
    root: str,
    folder: str,
    info: VideoInfo,
    frames: dict[int, tuple[int, int]],
    num_colors: int,
    scan: VideoScan,
) -> dict[int, np.ndarray]:
    """Class ids of the labeled frames, at the size (H, W) of the first frame."""
    width, height = next(iter(frames.values()))
    labels = {}
    for i, size in frames.items():
        if info.subset == "v1s" and info.split == "train" and i > 0:
            continue
        path = f"{folder}/labels_rgb/{i}.png"
        try:
            ids, unknown = read_labels(os.path.join(root, path), num_colors)
        except FileNotFoundError:
            scan.problems.append(("missing label", path))
            continue
        except ValueError:
            scan.problems.append(("broken label", path))
            continue
        if unknown:
            scan.problems.append(("unknown color in a label (background is used)", path))
        if ids.shape != size[::-1]:
            scan.problems.append(("label size differs from its frame (resized)", path))
        labels[i] = resize_labels(ids, (height, width))
    return labels
