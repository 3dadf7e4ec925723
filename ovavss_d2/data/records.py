"""Reads a split's YouTube-VIS style JSON as records for Detectron2's catalog.

Shapes: L frames of a video, K names.
"""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ovavss_d2.data.avsbench import MAX_SECONDS, SUBSETS, is_folder_name
from ovavss_d2.data.folder import check_rate, find_audio
from ovavss_d2.data.json_value import JsonValue, describe
from ovavss_d2.data.masks import check_mask
from ovavss_d2.files import read_json
from ovavss_d2.vocabulary import name_key

_MAX_SIDE = 1 << 16  # pixels
_MAX_PIXELS = 1 << 26  # of a frame


def load_records(
    json_file: str,
    *,
    image_root: str,
    audio_root: str,
    names: Sequence[str],
    training: bool,
    label_images: bool = True,
    frames_per_second: float = 1.0,
) -> list[dict]:
    """Read a split and check its values.

    AVSBench-OV's published files lack times, sounding names, audio and label files. Then frame i is
    at i seconds, the names are those of the annotations, and the files are AVSBench-semantic's.
    YouTube-VIS's files also lack subsets; then it is "all".

    Args:
        json_file: the split.
        image_root: folder that frame paths are relative to.
        audio_root: folder that audio and label paths are relative to (AVSBench-semantic's).
        names: the K names. A category has the class of its name; in a file without categories,
            category k has class k.
        training: keep only the ground truth of frame 0 in videos of v1s.
        label_images: False: without label files in the split, the annotations are the ground truth,
            and without an audio file in it, it is `audio.*` in the video's folder.
        frames_per_second: rate of the frames of videos without times.

    Returns:
        One dict per video: "video_id", "subset", "height", "width", "file_names" (L paths), "times"
        (L, seconds), "audio_file" (path or None), "names" (of the sounding objects), "label_files"
        (L, path or None) and, where the split has annotations, "annotations": dicts of "id",
        "category_id" (from 1), "segmentations" (L, mask or None).

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is broken; the message has the position of the wrong value.
    """
    content = JsonValue(read_json(json_file, "make or download it again"))
    check_rate(frames_per_second)
    reader = _Reader(tuple(names), image_root, audio_root, label_images, frames_per_second)
    try:
        records = reader.read(content)
        if training and "annotations" not in content:
            raise content.error("it has no annotations to train on")
    except ValueError as error:
        raise ValueError(f"'{json_file}': {error}") from error
    if training:
        for record in records:
            if record["subset"] == SUBSETS[0] and record["label_files"] is not None:
                record["label_files"][1:] = [None] * (len(record["file_names"]) - 1)
    return records


@dataclass(frozen=True)
class _Reader:
    """Reads a split; see `load_records`."""

    names: tuple[str, ...]
    image_root: str
    audio_root: str
    label_images: bool
    frames_per_second: float

    @cached_property
    def classes(self) -> dict[str, int]:
        """The class of each name, by its key."""
        return {name_key(name): k for k, name in enumerate(self.names, start=1)}

    def read(self, content: JsonValue) -> list[dict]:
        """The records of a split."""
        annotations = list(content["annotations"].items()) if "annotations" in content else None
        videos: dict[str, JsonValue] = {}
        for video in content["videos"].items():
            key = video["id"].identifier()
            if videos.setdefault(key, video) is not video:
                raise video["id"].error(f"{describe(key)} is the id of two videos")
        files = {key: _frame_files(video) for key, video in videos.items()}
        video_ids = _video_ids(videos, files)
        records = {key: self._record(video, files[key]) for key, video in videos.items()}
        if annotations or (annotations is not None and not self.label_images):
            self._add_annotations(records, annotations, self._class_of_category(content))
        for key, record in records.items():
            record["video_id"] = video_ids[key]
            if record["names"] is None:
                classes = sorted({a["category_id"] for a in record.get("annotations", ())})
                record["names"] = [self.names[k - 1] for k in classes]
        return list(records.values())

    def _record(self, video: JsonValue, files: Sequence[str]) -> dict:
        """A record without annotations; its names are None if the split does not give them."""
        height, width = (video[key].integer(1, _MAX_SIDE) for key in ("height", "width"))
        if height * width > _MAX_PIXELS:
            raise video.error(f"{height} x {width} pixels, expected at most {_MAX_PIXELS}")
        subset = video["label"].text() if self.label_images or "label" in video else "all"
        # AVSBench-semantic's folders are "<subset>/<video>".
        name = video["name"].identifier() if "name" in video else _video_folder(files[0]).name
        folder = f"{subset}/{name}"
        sounding = None
        if "names" in video:
            sounding = [self._known_name(name) for name in video["names"].items()]
        return {
            "video_id": name,
            "subset": subset,
            "height": height,
            "width": width,
            "file_names": [os.path.join(self.image_root, file) for file in files],
            "times": self._times(video, len(files)),
            "audio_file": self._audio_file(video, files[0], folder),
            "names": sounding,
            "label_files": self._label_files(video, files, folder),
        }

    def _known_name(self, name: JsonValue) -> str:
        number = self.classes.get(name_key(name.text()))
        if number is None:
            raise name.error(f"{describe(name.value)} is not one of the data set's names")
        return self.names[number - 1]

    def _times(self, video: JsonValue, length: int) -> list[float]:
        if "times" not in video:
            return [i / self.frames_per_second for i in range(length)]
        times = [time.number(0, MAX_SECONDS) for time in _per_frame(video["times"], length)]
        if times != sorted(times):
            raise video["times"].error("they decrease, expected ascending seconds")
        return times

    def _audio_file(self, video: JsonValue, frame: str, folder: str) -> str | None:
        """The split's file, otherwise that in the video's folder, which some videos lack."""
        if "audio_file" in video.value:
            path = video["audio_file"]
            return path.value and os.path.join(self.audio_root, path.text())
        if not self.label_images:
            return find_audio(Path(self.image_root, _video_folder(frame)))
        file = os.path.join(self.audio_root, folder, "audio.wav")
        return file if os.path.isfile(file) else None

    def _label_files(
        self, video: JsonValue, files: Sequence[str], folder: str
    ) -> list[str | None] | None:
        if "label_files" in video and video["label_files"].value:
            labels = _per_frame(video["label_files"], len(files))
            paths = [None if label.value is None else label.text() for label in labels]
        elif self.label_images:
            paths = [f"{folder}/labels_rgb/{Path(file).stem}.png" for file in files]
        else:
            return None
        return [None if path is None else os.path.join(self.audio_root, path) for path in paths]

    def _class_of_category(self, content: JsonValue) -> dict[str, int]:
        """The class of each category's id; categories that the data set lacks are left out."""
        if "categories" not in content or not content["categories"].value:
            return {str(number): number for number in self.classes.values()}
        names: dict[str, str] = {}
        for category in content["categories"].items():
            key = category["id"].identifier()
            if key in names:
                raise category["id"].error(f"{describe(key)} is the id of two categories")
            names[key] = name_key(category["name"].text())
        return {key: self.classes[name] for key, name in names.items() if name in self.classes}

    def _add_annotations(
        self, records: dict[str, dict], annotations: list[JsonValue], classes: dict[str, int]
    ) -> None:
        """Give each record its "annotations", except those of crowds."""
        for record in records.values():
            record["annotations"] = []
        for number, annotation in enumerate(annotations, start=1):
            category = annotation["category_id"]
            if category.identifier() not in classes:
                raise category.error(
                    f"{describe(category.value)} is not the id of one of the data set's names"
                )
            video = annotation["video_id"]
            if video.identifier() not in records:
                raise video.error(f"{describe(video.value)} is not the id of a video")
            if annotation.value.get("iscrowd"):
                continue
            record = records[video.identifier()]
            own_id = annotation.value.get("id")
            record["annotations"].append(
                {
                    "id": own_id if type(own_id) is int and abs(own_id) < 1 << 63 else number,
                    "category_id": classes[category.identifier()],
                    "segmentations": _segmentations(annotation["segmentations"], record),
                }
            )


def _frame_files(video: JsonValue) -> list[str]:
    """Paths of the frames, whose names are those of label maps, so no two are equal."""
    files: dict[str, str] = {}
    entries = list(video["file_names"].items())
    for entry in entries:
        stem = Path(entry.text()).stem
        if files.setdefault(stem, entry.value) != entry.value:
            first, second = describe(files[stem]), describe(entry.value)
            raise entry.error(f"{first} and {second} have the same name")
    length = video["length"].value if "length" in video else len(entries)
    if not entries or len(entries) != length:
        raise video.error(f"it has {len(entries)} frames, but its length is {describe(length)}")
    return [entry.value for entry in entries]


def _per_frame(values: JsonValue, length: int) -> list[JsonValue]:
    items = list(values.items())
    if len(items) != length:
        raise values.error(f"it has length {len(items)}, expected {length}: one per frame")
    return items


def _segmentations(masks: JsonValue, record: dict) -> list[Any]:
    """Check the masks of an object; null and an empty list are for frames without it."""
    length = len(record["file_names"])
    if masks.value is None or masks.value == []:
        return [None] * length
    for mask in _per_frame(masks, length):
        try:
            check_mask(mask.value, record["height"], record["width"])
        except ValueError as error:
            raise mask.error(str(error)) from error
    return masks.value


def _video_folder(frame: str) -> Path:
    """The folder of a video: its frames are in it or in a folder `frames` in it."""
    folder = Path(frame).parent
    return folder.parent if folder.name == "frames" else folder


def _video_ids(videos: dict[str, JsonValue], files: dict[str, list[str]]) -> dict[str, str]:
    """The videos' names, which are folders of label maps, so no two are equal.

    Videos without a name get that of their folder, their folder's path, or their id: the first of
    these by which they differ.
    """
    folders = {k: _video_folder(files[k][0]) for k, video in videos.items() if "name" not in video}
    names = {key: folder.name for key, folder in folders.items()}
    if not _are_distinct(names.values()):
        names = {k: "_".join(f.relative_to(f.anchor).parts) for k, f in folders.items()}
    if not _are_distinct(names.values()):
        names = {key: key for key in folders}
    names |= {k: video["name"].identifier() for k, video in videos.items() if "name" in video}
    used: dict[str, str] = {}
    for key, name in names.items():
        if not all(map(is_folder_name, name.split("/"))):
            raise videos[key].error(f"its name {describe(name)} is not that of a folder")
        if used.setdefault(name, key) != key:
            first = videos[used[name]].position
            raise videos[key].error(f"its name {describe(name)} is also that of {first}")
    return {key: names[key] for key in videos}


def _are_distinct(names: Collection[str]) -> bool:
    return len(set(names)) == len(names) and not {"", ".."} & set(names)
