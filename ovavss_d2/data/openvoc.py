"""Splits of an AVSBench-shaped tree, as YouTube-VIS style JSON.

The authors of AVSBench-OV publish their split as files, not as a rule. Where these are not at hand,
`derive_openvoc_split` makes one of its own by this rule: training and validation take the videos of
AVSBench-semantic's training and validation split whose sounding objects all have base names; the
test takes its whole test split. Figures on it are not comparable with published ones, so its files
and data sets are called "derived".
"""

import functools
import json
import logging
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ovavss_d2.data.avsbench import VideoInfo, VideoScan, read_metadata, scan_video
from ovavss_d2.data.parallel import map_in_processes

logger = logging.getLogger(__name__)

DERIVED_FILES = {
    "train": "derived_train_base.json",
    "val": "derived_val_base.json",
    "test": "derived_test_all.json",
}
AUTHORS_TEST_FILE = "avsbench_ov_test_all.json"
_EXAMPLES = 3  # places that a report shows per kind of problem


@dataclass
class SplitReport:
    """Counts of what was made, and of what is wrong with the tree.

    Attributes:
        files: file name -> number of videos, objects and labelled frames in it.
        problems: kind -> how often.
        examples: kind -> the first places.
    """

    files: dict[str, dict[str, int]] = field(default_factory=dict)
    problems: Counter = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add_problems(self, problems: Iterable[tuple[str, str]]) -> None:
        """Count pairs (kind, place)."""
        for kind, place in problems:
            self.problems[kind] += 1
            examples = self.examples.setdefault(kind, [])
            if len(examples) < _EXAMPLES:
                examples.append(place)

    def __str__(self) -> str:
        lines = [
            f"{name}: " + ", ".join(f"{count} {what}" for what, count in counts.items())
            for name, counts in self.files.items()
        ]
        lines += [
            f"{self.problems[kind]} x {kind}: " + ", ".join(self.examples[kind])
            for kind in sorted(self.problems)
        ]
        return "\n".join(lines + ([] if self.problems else ["no problem found"]))


def derive_openvoc_split(
    root: str | os.PathLike,
    out: str | os.PathLike,
    names: Sequence[str],
    base_ids: Sequence[int],
    workers: int = 0,
) -> SplitReport:
    """Write the derived split (see the head of this file) of a tree in AVSBench-semantic's form.

    The same tree gives the same bytes, with any number of workers. A run that was broken off goes
    on where it was.

    Args:
        root: folder with metadata.csv, label2idx.json and the videos.
        out: folder for the three JSON files; paths in them are relative to `root`.
        names: the K names that label2idx.json must hold.
        base_ids: ids (from 1) of the base names.
        workers: processes; 0 or 1 works in this one.

    Raises:
        FileNotFoundError, ValueError: metadata.csv or label2idx.json is missing, broken or of other
            names.
    """
    videos = _checked_metadata(root, names)
    base = {names[i - 1] for i in base_ids}
    os.makedirs(out, exist_ok=True)
    report = SplitReport()
    for split, file_name in DERIVED_FILES.items():
        chosen = [
            video
            for video in videos
            if video.split == split and (split == "test" or base.issuperset(video.names))
        ]
        scan = functools.partial(
            scan_video, os.fspath(root), names=tuple(names), with_masks=split != "test"
        )
        _write_split(os.path.join(out, file_name), chosen, scan, names, workers, report)
    return report


def add_authors_test(
    openvoc: str | os.PathLike,
    root: str | os.PathLike,
    names: Sequence[str],
    workers: int = 0,
) -> SplitReport:
    """Write the test JSON that the authors' folder lacks, with AVSBench-semantic's truth.

    Args:
        openvoc: the authors' folder; `test/JPEGImages/<video>/<frame>.jpg` lie in it.
        root: AVSBench-semantic's folder.
        names: the 70 names.
        workers: processes; 0 or 1 works in this one.
    """
    videos = {video.uid: video for video in _checked_metadata(root, names)}
    images = os.path.join(openvoc, "test", "JPEGImages")
    if not os.path.isdir(images):
        raise FileNotFoundError(
            f"'{images}' is missing: it comes with AVSBench-OV, see datasets/README.md"
        )
    report = SplitReport()
    found = sorted(os.listdir(images))
    report.add_problems(
        ("test video that metadata.csv lacks", name) for name in found if name not in videos
    )
    scan = functools.partial(_scan_authors_video, os.fspath(root), images, tuple(names))
    chosen = [videos[name] for name in found if name in videos]
    _write_split(os.path.join(openvoc, AUTHORS_TEST_FILE), chosen, scan, names, workers, report)
    return report


def _scan_authors_video(root: str, images: str, names: Sequence[str], info: VideoInfo) -> VideoScan:
    scan = scan_video(root, replace(info, split="test"), names, with_masks=False)
    if scan.video is None:
        return scan
    files = [f"{info.uid}/{os.path.basename(path)}" for path in scan.video["file_names"]]
    scan.problems += [
        ("missing frame", f"test/JPEGImages/{file}")
        for file in files
        if not os.path.isfile(os.path.join(images, file))
    ]
    scan.video["file_names"] = files
    return scan


def _checked_metadata(root: str | os.PathLike, names: Sequence[str]) -> list[VideoInfo]:
    videos, found = read_metadata(root)
    if found != tuple(names):
        other = next((f for f, name in zip(found, names, strict=False) if f != name), None)
        raise ValueError(
            f"'{os.path.join(root, 'label2idx.json')}': expected {len(names)} names in the "
            f"project's order, found {len(found)}"
            + (f", the first other one is '{other}'" if other else "")
        )
    return sorted(videos, key=lambda video: (video.subset, video.uid))


def _write_split(path: str, videos, scan, names, workers: int, report: SplitReport) -> None:
    """Scan videos and write their JSON under its name only when it is whole."""
    key = zlib.crc32(repr((scan.args, scan.keywords, videos)).encode())
    journal = f"{path}.partial-{key:08x}"
    scans = _scan_all(videos, scan, workers, journal, os.path.basename(path))
    content = {
        "videos": [],
        "annotations": [],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names, start=1)],
    }
    for found in scans:
        report.add_problems(found.problems)
        if found.video is None:
            continue
        video_id = len(content["videos"]) + 1
        content["videos"].append({"id": video_id} | found.video)
        for annotation in found.annotations:
            number = {"id": len(content["annotations"]) + 1, "video_id": video_id}
            content["annotations"].append(number | annotation)
    write_json(path, content)
    os.remove(journal)
    report.files[os.path.basename(path)] = {
        "videos": len(content["videos"]),
        "objects": len(content["annotations"]),
        "labelled frames": sum(
            f is not None for video in content["videos"] for f in video["label_files"]
        ),
    }


def _scan_all(videos, scan, workers: int, journal: str, what: str) -> list[VideoScan]:
    """Scan the videos, in order; what a broken-off run finished is read from its journal."""
    done = _read_journal(journal)
    todo = [video for video in videos if video.uid not in done]
    with open(journal, "w", encoding="utf-8") as file:
        for uid, found in done.items():
            _write_line(file, uid, found)
        scans = map_in_processes(scan, todo, workers, what, "video")
        for video, found in zip(todo, scans, strict=True):
            done[video.uid] = found
            if not found.problems:
                _write_line(file, video.uid, found)
    return [done[video.uid] for video in videos]


def _write_line(file, uid: str, found: VideoScan) -> None:
    entry = {"uid": uid, "video": found.video, "annotations": found.annotations}
    file.write(json.dumps(entry) + "\n")


def _read_journal(path: str) -> dict[str, VideoScan]:
    done = {}
    if os.path.isfile(path):
        with open(path, encoding="utf-8") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                except ValueError:
                    break  # the line at which the run was broken off
                done[entry["uid"]] = VideoScan(entry["video"], entry["annotations"])
        logger.info("Going on with '%s': %d videos are done.", path, len(done))
    return done


def write_json(path: str, content: dict) -> None:
    """Write JSON so that the file is there whole or not at all."""
    partial = f"{path}.{os.getpid()}.tmp"
    try:
        with open(partial, "w", encoding="utf-8") as file:
            json.dump(content, file, separators=(",", ":"))
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)
