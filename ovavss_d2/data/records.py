"""From the YouTube-VIS style JSON of a split to the records that Detectron2's catalog hands out."""

import json
import os
from collections.abc import Sequence

from ovavss_d2.data.avsbench import SUBSETS


def load_records(
    json_file: str,
    *,
    image_root: str,
    sound_root: str,
    names: Sequence[str],
    training: bool,
    label_pictures: bool = True,
) -> list[dict]:
    """Read a split.

    The authors' files say neither times, sounding names, sound nor label pictures: frame i then
    stands at i seconds, the names are those of the annotations, and the files are looked for in
    AVSBench-semantic.

    Args:
        json_file: the split.
        image_root: folder that frame names are relative to.
        sound_root: AVSBench-semantic's folder, which sound and label names are relative to.
        names: the K names that category ids stand for.
        training: of v1s keep only the truth of frame 0.
        label_pictures: where the split does not name label pictures, they are those of
            AVSBench-semantic; False: there are none, the annotations are the truth.

    Returns:
        One dict per video: "video_id", "subset", "height", "width", "file_names" (L paths), "times"
        (L, seconds), "audio_file" (path or None), "names" (those that sound), "label_files" (L,
        path or None) and, where the split has annotations, "annotations": dicts of "id",
        "category_id" (from 1), "segmentations" (L, mask or None).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is broken.
    """
    content = _read_json(json_file)
    try:
        _check_categories(content.get("categories", ()), names)
        objects = _by_video(content["annotations"], len(names))
        records = [
            _record(video, objects, image_root, sound_root, names) for video in content["videos"]
        ]
        for record, video in zip(records, content["videos"], strict=True):
            if not label_pictures and "label_files" not in video:
                record["label_files"] = None
            if training and record["subset"] == SUBSETS[0]:
                _keep_first_truth(record)
        return records
    except KeyError as error:
        raise ValueError(f"'{json_file}': an entry lacks {error}") from error
    except (TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"'{json_file}': not a YouTube-VIS style split ({error})") from error
    except ValueError as error:
        raise ValueError(f"'{json_file}': {error}") from error


def _read_json(path: str):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except ValueError as error:
        raise ValueError(f"'{path}': broken JSON ({error}); make or fetch it again") from error


def _check_categories(categories: Sequence[dict], names: Sequence[str]) -> None:
    for category in categories:
        i, name = category["id"], category["name"]
        if not 1 <= i <= len(names) or names[i - 1] != name:
            raise ValueError(f"category {i} is '{name}', which the data set's names do not say")


def _by_video(annotations: Sequence[dict], num_names: int) -> dict[int, list[dict]]:
    objects: dict[int, list[dict]] = {}
    for annotation in annotations or ():
        if not 1 <= annotation["category_id"] <= num_names:
            raise ValueError(
                f"annotation {annotation['id']} has category {annotation['category_id']}, "
                f"expected 1 to {num_names}"
            )
        if not annotation.get("iscrowd"):
            kept = ("id", "category_id", "segmentations")
            objects.setdefault(annotation["video_id"], []).append({k: annotation[k] for k in kept})
    return objects


def _keep_first_truth(record: dict) -> None:
    if record["label_files"] is not None:
        files = record["label_files"]
        record["label_files"] = [*files[:1], *[None] * (len(files) - 1)]


def _record(video, objects, image_root, sound_root, names) -> dict:
    files, subset = video["file_names"], video["label"]
    if not files or len(files) != video["length"]:
        raise ValueError(f"video {video['id']} has {len(files)} frames, its length is another")
    # The authors' frames are "<video>/<frame>.jpg".
    name = video.get("name") or os.path.basename(os.path.dirname(files[0]))
    folder = f"{subset}/{name}"
    annotations = objects.get(video["id"], [])
    heard = video.get("names")
    if heard is None:
        heard = [names[i - 1] for i in sorted({a["category_id"] for a in annotations})]
    stems = (os.path.splitext(os.path.basename(file))[0] for file in files)
    labels = video.get("label_files") or [f"{folder}/labels_rgb/{stem}.png" for stem in stems]
    record = {
        "video_id": name,
        "subset": subset,
        "height": video["height"],
        "width": video["width"],
        "file_names": [os.path.join(image_root, file) for file in files],
        "times": [float(t) for t in video.get("times", range(len(files)))],
        "audio_file": _sound_file(video, folder, sound_root),
        "names": list(heard),
        "label_files": [file and os.path.join(sound_root, file) for file in labels],
    }
    if objects:
        record["annotations"] = annotations
    return record


def _sound_file(video: dict, folder: str, sound_root: str) -> str | None:
    """The file that the split names; else AVSBench-semantic's, which some videos lack."""
    if "audio_file" in video:
        return video["audio_file"] and os.path.join(sound_root, video["audio_file"])
    path = os.path.join(sound_root, folder, "audio.wav")
    return path if os.path.isfile(path) else None
