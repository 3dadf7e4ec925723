"""AVSBench-semantic's folder tree: its metadata, its colour labels, and what is wrong with a video.

    <root>/metadata.csv            vid,uid,s_min,s_sec,a_obj,split,label
    <root>/label2idx.json          name -> id, "background" -> 0
    <root>/<subset>/<uid>/         frames/<i>.jpg   labels_rgb/<i>.png   audio.wav      (frame i
    stands at i seconds)

Shapes: L frames of a video, K names, H W pixels.
"""

import csv
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from ovavss_d2.data.label_maps import IMAGE_ERRORS, read_labels, resize_labels
from ovavss_d2.data.masks import annotations_from_labels
from ovavss_d2.media.audio import read_audio
from ovavss_d2.media.audio_format import SAMPLE_RATE

logger = logging.getLogger(__name__)

FRAMES_OF_SUBSET = {"v1s": 5, "v1m": 5, "v2": 10}
SUBSETS = tuple(FRAMES_OF_SUBSET)
SPLITS = ("train", "val", "test")
MISSING_SOUND = "missing sound (silence is used)"
BROKEN_SOUND = "broken sound (silence is used)"
_COLUMNS = ("uid", "a_obj", "split", "label")


@dataclass(frozen=True)
class VideoInfo:
    """A row of metadata.csv: folder, v1s | v1m | v2, train | val | test, what makes the sound."""

    uid: str
    subset: str
    split: str
    names: tuple[str, ...]


@dataclass
class VideoScan:
    """What a video's folder holds.

    Attributes:
        video: its entry in the YouTube-VIS style JSON, without an id; None if it has nothing to
            show.
        annotations: one per class: category id, and per frame a box and an RLE mask, or None.
        problems: pairs (kind, place).
    """

    video: dict | None = None
    annotations: list[dict] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)


def read_metadata(root: str | os.PathLike) -> tuple[list[VideoInfo], tuple[str, ...]]:
    """Read what AVSBench-semantic's two lists say.

    Returns:
        The videos in the order of metadata.csv, and the K names in the order of their ids.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: one is broken; the line says where.
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
                    logger.warning("'%s' line %d: '%s' again", path, reader.line_num, video.uid)
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"'{path}': not a CSV text file ({error})") from error
    return list(videos.values())


def _parse_row(row: dict, place: str) -> VideoInfo:
    empty = [c for c in _COLUMNS if row[c] is None or (c != "a_obj" and not row[c].strip())]
    if empty:
        raise ValueError(f"{place}: no value for {', '.join(empty)}")
    split = row["split"].strip()
    if split not in SPLITS:
        raise ValueError(f"{place}: split '{split}', expected one of {', '.join(SPLITS)}")
    names = tuple(dict.fromkeys(n.strip() for n in row["a_obj"].split("_") if n.strip()))
    return VideoInfo(row["uid"].strip(), row["label"].strip(), split, names)


def _read_names(root: str | os.PathLike) -> tuple[str, ...]:
    path = os.path.join(root, "label2idx.json")
    try:
        with open(path, encoding="utf-8") as file:
            ids = json.load(file)
    except FileNotFoundError as error:
        raise _missing(path) from error
    except ValueError as error:
        raise ValueError(f"'{path}': broken JSON ({error})") from error
    if not isinstance(ids, dict) or sorted(map(str, ids.values())) != sorted(
        map(str, range(len(ids)))
    ):
        raise ValueError(f"'{path}': expected names with the ids 0 to K, each once")
    if ids.get("background") != 0:
        raise ValueError(f"'{path}': expected 'background' to have id 0")
    return tuple(sorted(ids, key=ids.__getitem__))[1:]


def _missing(path: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"'{path}' is missing: it comes with AVSBench-semantic, see datasets/README.md"
    )


def scan_video(
    root: str, info: VideoInfo, names: Sequence[str], with_masks: bool = True
) -> VideoScan:
    """Look through a video's folder.

    Training videos of v1s have truth on frame 0 only. Broken or missing frames are left out, labels
    of another size than their frame are scaled to it, unknown colours and classes that the metadata
    does not name are background.

    Args:
        root: AVSBench-semantic's folder.
        info: which video.
        names: the K names.
        with_masks: make annotations.
    """
    scan = VideoScan()
    folder = f"{info.subset}/{info.uid}"
    frames = _find_frames(root, folder, info, scan)
    if not frames:
        scan.problems.append(("video without a readable frame (it is left out)", folder))
        return scan
    width, height = next(iter(frames.values()))
    if any(size != (width, height) for size in frames.values()):
        scan.problems.append(("frames of several sizes", folder))
    labels = _find_labels(root, folder, info, frames, names, scan)
    if with_masks and not labels:
        scan.problems.append(("video without truth (it is left out)", folder))
        return scan
    sound = f"{folder}/audio.wav"
    kind = sound_problem(os.path.join(root, sound), last_time=float(max(frames)))
    if kind:
        scan.problems.append((kind, sound))
    scan.video = {
        "name": info.uid,
        "label": info.subset,
        "length": len(frames),
        "height": height,
        "width": width,
        "names": _known_names(info, names, folder, scan),
        "times": [float(i) for i in frames],
        "file_names": [f"{folder}/frames/{i}.jpg" for i in frames],
        "label_files": [f"{folder}/labels_rgb/{i}.png" if i in labels else None for i in frames],
        "audio_file": None if kind in (MISSING_SOUND, BROKEN_SOUND) else sound,
    }
    if with_masks:
        ids = [labels.get(i) for i in frames]
        heard = sorted(names.index(name) + 1 for name in scan.video["names"])
        scan.annotations = annotations_from_labels(ids, heard)
    return scan


def _known_names(info: VideoInfo, names: Sequence[str], folder: str, scan: VideoScan) -> list[str]:
    for name in info.names:
        if name not in names:
            scan.problems.append(("name that label2idx.json lacks", f"{folder}: {name}"))
    return [name for name in info.names if name in names]


def _find_frames(
    root: str, folder: str, info: VideoInfo, scan: VideoScan
) -> dict[int, tuple[int, int]]:
    """Numbers and (width, height) of the readable frames, ascending."""
    path = os.path.join(root, folder, "frames")
    found = os.listdir(path) if os.path.isdir(path) else []
    stems = (os.path.splitext(name) for name in found)
    numbers = {int(stem) for stem, end in stems if end == ".jpg" and stem.isdecimal()}
    expected = FRAMES_OF_SUBSET.get(info.subset, 0)
    for i in sorted(set(range(expected)) ^ numbers):
        kind = "missing frame" if i < expected else "frame beyond its subset's number (it is used)"
        if expected:
            scan.problems.append((kind, f"{folder}/frames/{i}.jpg"))
    sizes = {}
    for i in sorted(numbers):
        try:
            sizes[i] = frame_size(os.path.join(path, f"{i}.jpg"))
        except ValueError:
            scan.problems.append(("broken frame", f"{folder}/frames/{i}.jpg"))
    return sizes


def frame_size(path: str | os.PathLike) -> tuple[int, int]:
    """Decode a frame to its last pixel and give its (width, height).

    Raises:
        ValueError: it is missing, no picture, or cut off.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return image.size
    except IMAGE_ERRORS as error:
        raise ValueError(f"'{path}': broken frame ({error})") from error


def sound_problem(path: str | os.PathLike, last_time: float) -> str | None:
    """What is wrong with a sound file whose video's last frame stands at `last_time` seconds."""
    if not os.path.isfile(path):
        return MISSING_SOUND
    try:
        audio = read_audio(path)
    except (ValueError, OSError):
        return BROKEN_SOUND
    if not audio.any():
        return "sound that is digital silence"
    if len(audio) <= last_time * SAMPLE_RATE:
        return "sound that ends before the last frame (silence follows)"
    return None


def _find_labels(root, folder, info, frames, names, scan) -> dict[int, np.ndarray]:
    """Class ids (H, W), at the video's size, of the frames that have truth."""
    width, height = next(iter(frames.values()))
    labels = {}
    for i, size in frames.items():
        if info.subset == "v1s" and info.split == "train" and i > 0:
            continue
        place = f"{folder}/labels_rgb/{i}.png"
        try:
            ids, unknown = read_labels(os.path.join(root, place), len(names) + 1)
        except FileNotFoundError:
            scan.problems.append(("missing label", place))
            continue
        except ValueError:
            scan.problems.append(("broken label", place))
            continue
        if unknown:
            scan.problems.append(("unknown colour in a label (background is used)", place))
        if ids.shape != (size[1], size[0]):
            scan.problems.append(("label of another size than its frame (it is scaled)", place))
        labels[i] = resize_labels(ids, (height, width))
    return labels
