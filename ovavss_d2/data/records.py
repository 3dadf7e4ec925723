"""Reads a split's YouTube-VIS style JSON as records for Detectron2's catalog.

Shapes: L frames of a video, K names.
"""

import json
import os
from collections.abc import Sequence
from typing import Any

from ovavss_d2.data.avsbench import SUBSETS


def load_records(
    json_file: str,
    *,
    image_root: str,
    audio_root: str,
    names: Sequence[str],
    training: bool,
    label_images: bool = True,
) -> list[dict]:
    """Read a split.

    AVSBench-OV's published files lack times, sounding names, audio and label files. Then frame i is
    at i seconds, the names are those of the annotations, and the files are AVSBench-semantic's.

    Args:
        json_file: the split.
        image_root: folder that frame paths are relative to.
        audio_root: folder that audio and label paths are relative to (AVSBench-semantic's).
        names: the K names of the category ids.
        training: keep only the ground truth of frame 0 in videos of v1s.
        label_images: False: without label files in the split, the annotations are the ground truth.

    Returns:
        One dict per video: "video_id", "subset", "height", "width", "file_names" (L paths), "times"
        (L, seconds), "audio_file" (path or None), "names" (of the sounding objects), "label_files"
        (L, path or None) and, where the split has annotations, "annotations": dicts of "id",
        "category_id" (from 1), "segmentations" (L, mask or None).

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is broken.
    """
    content = read_json(json_file, "make or download it again")
    try:
        _check_categories(content.get("categories", ()), names)
        annotations = _by_video(content["annotations"], len(names))
        records = []
        for video in content["videos"]:
            record = _record(video, annotations, image_root, audio_root, names)
            if not label_images and "label_files" not in video:
                record["label_files"] = None
            elif training and record["subset"] == SUBSETS[0]:
                record["label_files"][1:] = [None] * (len(record["file_names"]) - 1)
            records.append(record)
        return records
    except KeyError as error:
        raise ValueError(f"'{json_file}': an entry lacks {error}") from error
    except (TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"'{json_file}': not a YouTube-VIS style split ({error})") from error
    except ValueError as error:
        raise ValueError(f"'{json_file}': {error}") from error


def read_json(path: str, hint: str) -> Any:
    """Read JSON; a broken file is a `ValueError` that ends with `hint`."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except ValueError as error:
        raise ValueError(f"'{path}': broken JSON ({error}); {hint}") from error


def _check_categories(categories: Sequence[dict], names: Sequence[str]) -> None:
    for category in categories:
        i, name = category["id"], category["name"]
        if not 1 <= i <= len(names) or names[i - 1] != name:
            raise ValueError(f"category {i} is '{name}', which differs from the data set's names")


def _by_video(annotations: Sequence[dict], num_names: int) -> dict[int, list[dict]]:
    by_video: dict[int, list[dict]] = {}
    for annotation in annotations or ():
        if not 1 <= annotation["category_id"] <= num_names:
            raise ValueError(
                f"annotation {annotation['id']} has category {annotation['category_id']}, "
                f"expected 1 to {num_names}"
            )
        if not annotation.get("iscrowd"):
            kept = {key: annotation[key] for key in ("id", "category_id", "segmentations")}
            by_video.setdefault(annotation["video_id"], []).append(kept)
    return by_video


def _record(
    video: dict[str, Any],
    annotations: dict[int, list[dict]],
    image_root: str,
    audio_root: str,
    names: Sequence[str],
) -> dict[str, Any]:
    files, subset = video["file_names"], video["label"]
    if not files or len(files) != video["length"]:
        raise ValueError(f"video {video['id']} has {len(files)} frames, which is not its length")
    # AVSBench-OV's frames are "<video>/<frame>.jpg".
    name = video.get("name") or os.path.basename(os.path.dirname(files[0]))
    folder = f"{subset}/{name}"
    own = annotations.get(video["id"], [])
    sounding = video.get("names")
    if sounding is None:
        sounding = [names[i - 1] for i in sorted({a["category_id"] for a in own})]
    stems = (os.path.splitext(os.path.basename(file))[0] for file in files)
    labels = video.get("label_files") or [f"{folder}/labels_rgb/{stem}.png" for stem in stems]
    record = {
        "video_id": name,
        "subset": subset,
        "height": video["height"],
        "width": video["width"],
        "file_names": [os.path.join(image_root, file) for file in files],
        "times": [float(t) for t in video.get("times", range(len(files)))],
        "audio_file": _audio_file(video, folder, audio_root),
        "names": list(sounding),
        "label_files": [file and os.path.join(audio_root, file) for file in labels],
    }
    if annotations:
        record["annotations"] = own
    return record


def _audio_file(video: dict[str, Any], folder: str, audio_root: str) -> str | None:
    """The split's file, otherwise AVSBench-semantic's, which some videos lack."""
    if "audio_file" in video:
        return video["audio_file"] and os.path.join(audio_root, video["audio_file"])
    path = os.path.join(audio_root, folder, "audio.wav")
    return path if os.path.isfile(path) else None
