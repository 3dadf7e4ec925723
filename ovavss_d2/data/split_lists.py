"""Split lists: YouTube-VIS style JSON files of the videos in a folder like AVSBench-semantic.

AVSBench-OV is published as files, without a rule. For users without these files,
`derived_lists` defines another split: training and validation take the videos of
AVSBench-semantic's training and validation splits whose sounding objects all have base names; the
test takes its whole test split. Its results are not comparable with published ones, so its files
and data sets are called "derived".

The closed set is AVSBench-semantic as its metadata.csv splits it, with all names in all splits.
"""

import json
import logging
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

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
        problems: kind -> paths.
    """

    files: dict[str, dict[str, int]] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)

    def add_problems(self, problems: Iterable[tuple[str, str]]) -> None:
        """Add pairs (kind, path)."""
        for kind, path in problems:
            self.problems.setdefault(kind, []).append(path)

    def merge(self, other: "SplitReport") -> None:
        """Add the content of another report."""
        self.files |= other.files
        self.add_problems((kind, path) for kind, paths in other.problems.items() for path in paths)

    def __str__(self) -> str:
        lines = [
            f"{name}: " + ", ".join(f"{count} {unit}" for unit, count in counts.items())
            for name, counts in self.files.items()
        ]
        lines += [
            f"{len(paths)} x {kind}: " + ", ".join(paths[:_EXAMPLES])
            for kind, paths in sorted(self.problems.items())
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
    with resumable_scan(
        lists[0].path, chosen, scan, workers, key=(os.fspath(root), tuple(names))
    ) as scans:
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


@contextmanager
def resumable_scan(
    result: str,
    videos: Sequence[VideoInfo],
    scan: Callable[[VideoInfo], VideoScan],
    workers: int,
    key: tuple,
) -> Iterator[dict[VideoInfo, VideoScan]]:
    """Scan videos, except those that an interrupted run finished without a problem.

    Args:
        result: file that the block writes; the progress is saved beside it, until the block ends.
        videos: the videos to scan.
        scan: returns a video's scan.
        workers: processes; 0 or 1 uses this process.
        key: everything that the scans depend on; another key uses another file.
    """
    path = Path(f"{result}.partial-{zlib.crc32(repr((*key, videos)).encode()):08x}")
    path.parent.mkdir(parents=True, exist_ok=True)
    done = _read_progress(path)
    scans = {video: done[video.uid] for video in videos if video.uid in done}
    remaining = [video for video in videos if video not in scans]
    results = map_in_processes(scan, remaining, workers, Path(result).name, "video")
    with open(path, "a", encoding="utf-8") as file:
        for video, scanned in zip(remaining, results, strict=True):
            scans[video] = scanned
            if not scanned.problems:
                file.write(json.dumps([video.uid, scanned.video, scanned.annotations]) + "\n")
    yield scans
    path.unlink()


def _read_progress(path: Path) -> dict[str, VideoScan]:
    done: dict[str, VideoScan] = {}
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        # Lines that the interrupted run did not finish, or that the disk lost.
        with suppress(ValueError, TypeError, RecursionError):
            uid, video, annotations = json.loads(line)
            done[uid] = VideoScan(video, annotations)
    if done:
        logger.info("Resuming from '%s': %d videos are done.", path, len(done))
    return done
