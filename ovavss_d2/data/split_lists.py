"""Split lists: YouTube-VIS style JSON files of the videos in a folder like AVSBench-semantic.

AVSBench-OV is published as files, without a rule. For users without these files,
`write_derived_lists` makes another split: training and validation take the videos of
AVSBench-semantic's training and validation splits whose sounding objects all have base names; the
test takes its whole test split. Its results are not comparable with published ones, so its files
and data sets are called "derived".

The closed set is AVSBench-semantic as its metadata.csv splits it, with all names in all splits.
"""

import json
import logging
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TextIO

from ovavss_d2.data.avsbench import SPLITS, VideoInfo, VideoScan, read_metadata, scan_video
from ovavss_d2.data.parallel import map_in_processes
from ovavss_d2.files import write_json

logger = logging.getLogger(__name__)

DERIVED_FILES = {
    "train": "derived_train_base.json",
    "val": "derived_val_base.json",
    "test": "derived_test_all.json",
}
CLOSED_FILES = {split: f"closed_{split}.json" for split in SPLITS}
_EXAMPLES = 3  # paths that a report shows per kind of problem


class SplitList(NamedTuple):
    """A list to write: its path, and a function that selects its videos."""

    path: str
    selects: Callable[[VideoInfo], bool]


@dataclass
class SplitReport:
    """Counts of what was written, and of problems in the data.

    Attributes:
        files: file name -> numbers of videos, frames, labeled frames and objects in it.
        problems: kind -> count.
        examples: kind -> the first paths.
    """

    files: dict[str, dict[str, int]] = field(default_factory=dict)
    problems: Counter = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add_problems(self, problems: Iterable[tuple[str, str]]) -> None:
        """Count pairs (kind, path)."""
        for kind, path in problems:
            self.problems[kind] += 1
            self.examples[kind] = [*self.examples.get(kind, []), path][:_EXAMPLES]

    def merge(self, other: "SplitReport") -> None:
        """Add the content of another report."""
        self.files |= other.files
        self.problems += other.problems
        for kind, paths in other.examples.items():
            self.examples[kind] = [*self.examples.get(kind, []), *paths][:_EXAMPLES]

    def __str__(self) -> str:
        lines = [
            f"{name}: " + ", ".join(f"{count} {unit}" for unit, count in counts.items())
            for name, counts in self.files.items()
        ]
        lines += [
            f"{self.problems[kind]} x {kind}: " + ", ".join(self.examples[kind])
            for kind in sorted(self.problems)
        ]
        return "\n".join(lines + ([] if self.problems else ["no problems found"]))


def derived_lists(
    folder: str | os.PathLike, names: Sequence[str], base_ids: Sequence[int]
) -> list[SplitList]:
    """The three lists of the derived split (see above) in a folder."""
    base = {names[i - 1] for i in base_ids}

    def selects(split: str, video: VideoInfo) -> bool:
        return video.split == split and (split == "test" or base.issuperset(video.names))

    return [SplitList(os.path.join(folder, DERIVED_FILES[s]), partial(selects, s)) for s in SPLITS]


def closed_lists(folder: str | os.PathLike) -> list[SplitList]:
    """The three lists of the closed set in a folder."""

    def selects(split: str, video: VideoInfo) -> bool:
        return video.split == split

    return [SplitList(os.path.join(folder, CLOSED_FILES[s]), partial(selects, s)) for s in SPLITS]


def write_derived_lists(
    root: str | os.PathLike,
    folder: str | os.PathLike,
    names: Sequence[str],
    base_ids: Sequence[int],
    workers: int = 0,
) -> SplitReport:
    """Write the derived split alone; see `write_lists` and `derived_lists`."""
    return write_lists(root, derived_lists(folder, names, base_ids), names, workers)


def write_lists(
    root: str | os.PathLike, lists: Sequence[SplitList], names: Sequence[str], workers: int = 0
) -> SplitReport:
    """Check a folder like AVSBench-semantic and write lists of its videos.

    The same data give the same bytes, with any number of workers. An interrupted run resumes.

    Args:
        root: folder with metadata.csv, label2idx.json and the videos.
        lists: the lists to write; paths in them are relative to `root`. Videos of the test split
            get no annotations: their label images are the ground truth.
        names: the K names that label2idx.json must have.
        workers: processes; 0 or 1 uses this process.

    Raises:
        FileNotFoundError, ValueError: metadata.csv or label2idx.json is missing, broken or has
            other names.
    """
    videos = checked_metadata(root, names)
    chosen = [video for video in videos if any(entry.selects(video) for entry in lists)]
    report = SplitReport()
    report.add_problems(_unlisted_folders(root, videos))
    scan = partial(_scan, os.fspath(root), tuple(names))
    title = os.path.basename(os.path.normpath(root))
    with ScanProgress(lists[0].path, (os.fspath(root), tuple(names), chosen)) as progress:
        scans = progress.scan(chosen, scan, workers, title)
        for video in chosen:
            report.add_problems(scans[video].problems)
        for path, selects in lists:
            selected = [scans[video] for video in chosen if selects(video)]
            report.files[os.path.basename(path)] = write_list(path, selected, names)
    return report


def _scan(root: str, names: Sequence[str], info: VideoInfo) -> VideoScan:
    return scan_video(root, info, names, info.split != "test")


def _unlisted_folders(
    root: str | os.PathLike, videos: Sequence[VideoInfo]
) -> Iterator[tuple[str, str]]:
    """Video folders that metadata.csv does not list, as problems."""
    known = {(video.subset, video.uid) for video in videos}
    for subset in sorted({video.subset for video in videos}):
        folder = os.path.join(root, subset)
        for uid in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            if (subset, uid) not in known and os.path.isdir(os.path.join(folder, uid)):
                yield "folder missing from metadata.csv (skipped)", f"{subset}/{uid}"


def checked_metadata(root: str | os.PathLike, names: Sequence[str]) -> list[VideoInfo]:
    """Read the videos, sorted by subset and id; raise a `ValueError` for unexpected names."""
    videos, found = read_metadata(root)
    if found != tuple(names):
        other = next((f for f, name in zip(found, names, strict=False) if f != name), None)
        raise ValueError(
            f"'{os.path.join(root, 'label2idx.json')}': expected {len(names)} names in the "
            f"project's order, found {len(found)}"
            + (f"; the first different one is '{other}'" if other else "")
        )
    return sorted(videos, key=lambda video: (video.subset, video.uid))


def write_list(path: str, scans: Sequence[VideoScan], names: Sequence[str]) -> dict[str, int]:
    """Write the JSON of the usable videos, and count its content."""
    videos: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for scan in scans:
        if scan.video is None:
            continue
        videos.append({"id": len(videos) + 1} | scan.video)
        for annotation in scan.annotations:
            ids = {"id": len(annotations) + 1, "video_id": len(videos)}
            annotations.append(ids | annotation)
    categories = [{"id": i, "name": name} for i, name in enumerate(names, start=1)]
    content = {"videos": videos, "annotations": annotations, "categories": categories}
    write_json(path, content, indent=None)
    return {
        "videos": len(videos),
        "frames": sum(video["length"] for video in videos),
        "labeled frames": sum(f is not None for video in videos for f in video["label_files"]),
        "objects": len(annotations),
    }


class ScanProgress:
    """Saves finished scans beside the result, so that an interrupted run resumes.

    A context manager: the file is removed when the block ends without an exception.
    """

    def __init__(self, path: str, key: tuple):
        """
        Args:
            path: of the result.
            key: everything that the scans depend on; another key uses another file.
        """
        self.path = f"{path}.partial-{zlib.crc32(repr(key).encode()):08x}"

    def __enter__(self) -> "ScanProgress":
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        if exception_type is None:
            os.remove(self.path)

    def scan(
        self,
        videos: Sequence[VideoInfo],
        scan: Callable[[VideoInfo], VideoScan],
        workers: int,
        title: str,
    ) -> dict[VideoInfo, VideoScan]:
        """Scan videos, except those that an interrupted run finished without a problem."""
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        done = self._read()
        scans = {video: done[video.uid] for video in videos if video.uid in done}
        remaining = [video for video in videos if video not in scans]
        with open(self.path, "w", encoding="utf-8") as file:
            for video, result in scans.items():
                _write_line(file, video.uid, result)
            results = map_in_processes(scan, remaining, workers, title, "video")
            for video, result in zip(remaining, results, strict=True):
                scans[video] = result
                if not result.problems:
                    _write_line(file, video.uid, result)
        return scans

    def _read(self) -> dict[str, VideoScan]:
        done: dict[str, VideoScan] = {}
        if os.path.isfile(self.path):
            with open(self.path, encoding="utf-8") as file:
                for line in file:
                    try:
                        entry = json.loads(line)
                    except ValueError:
                        break  # the run was interrupted while it wrote this line
                    done[entry["uid"]] = VideoScan(entry["video"], entry["annotations"])
            logger.info("Resuming from '%s': %d videos are done.", self.path, len(done))
        return done


def _write_line(file: TextIO, uid: str, scan: VideoScan) -> None:
    entry = {"uid": uid, "video": scan.video, "annotations": scan.annotations}
    file.write(json.dumps(entry) + "\n")
