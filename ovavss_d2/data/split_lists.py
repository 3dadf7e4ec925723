"""Lists of an AVSBench-shaped tree, as YouTube-VIS style JSON.

The authors of AVSBench-OV publish their split as files, not as a rule. Where these are not at hand,
`derive_openvoc_split` makes one of its own by this rule: training and validation take the videos of
AVSBench-semantic's training and validation split whose sounding objects all have base names; the
test takes its whole test split. Figures on it are not comparable with published ones, so its files
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
from typing import NamedTuple

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
_EXAMPLES = 3  # places that a report shows per kind of problem


class VideoList(NamedTuple):
    """A list to write: its file, and which videos of the tree it takes."""

    path: str
    takes: Callable[[VideoInfo], bool]


@dataclass
class SplitReport:
    """Counts of what was made, and of what is wrong with the tree.

    Attributes:
        files: file name -> numbers of videos, frames, labeled frames and objects in it.
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

    def merge(self, other: "SplitReport") -> None:
        """Add what another report has."""
        self.files |= other.files
        self.problems += other.problems
        for kind, places in other.examples.items():
            self.examples[kind] = [*self.examples.get(kind, []), *places][:_EXAMPLES]

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


def derived_lists(
    out: str | os.PathLike, names: Sequence[str], base_ids: Sequence[int]
) -> list[VideoList]:
    """The three lists of the derived split (see the head of this file), in the folder `out`."""
    base = {names[i - 1] for i in base_ids}

    def takes(split: str, video: VideoInfo) -> bool:
        return video.split == split and (split == "test" or base.issuperset(video.names))

    return [VideoList(os.path.join(out, DERIVED_FILES[s]), partial(takes, s)) for s in SPLITS]


def closed_lists(out: str | os.PathLike) -> list[VideoList]:
    """The three lists of the closed set, in the folder `out`."""

    def takes(split: str, video: VideoInfo) -> bool:
        return video.split == split

    return [VideoList(os.path.join(out, CLOSED_FILES[s]), partial(takes, s)) for s in SPLITS]


def derive_openvoc_split(
    root: str | os.PathLike,
    out: str | os.PathLike,
    names: Sequence[str],
    base_ids: Sequence[int],
    workers: int = 0,
) -> SplitReport:
    """Write the derived split alone; see `write_lists` and `derived_lists`."""
    return write_lists(root, derived_lists(out, names, base_ids), names, workers)


def write_lists(
    root: str | os.PathLike, lists: Sequence[VideoList], names: Sequence[str], workers: int = 0
) -> SplitReport:
    """Look through a tree in AVSBench-semantic's form and write lists of its videos.

    The same tree gives the same bytes, with any number of workers. A run that was broken off goes
    on where it was.

    Args:
        root: folder with metadata.csv, label2idx.json and the videos.
        lists: what to write; paths in them are relative to `root`. Videos of the test split get no
            annotations: their truth is the label pictures.
        names: the K names that label2idx.json must hold.
        workers: processes; 0 or 1 works in this one.

    Raises:
        FileNotFoundError, ValueError: metadata.csv or label2idx.json is missing, broken or of other
            names.
    """
    videos = checked_metadata(root, names)
    chosen = [video for video in videos if any(entry.takes(video) for entry in lists)]
    report = SplitReport()
    report.add_problems(_strangers(root, videos))
    journal = Journal(lists[0].path, (os.fspath(root), tuple(names), chosen))
    scan = partial(_scan, os.fspath(root), tuple(names))
    found = journal.scan(chosen, scan, workers, os.path.basename(os.path.normpath(root)))
    for video in chosen:
        report.add_problems(found[video].problems)
    for path, takes in lists:
        scans = [found[video] for video in chosen if takes(video)]
        report.files[os.path.basename(path)] = write_list(path, scans, names)
    journal.remove()
    return report


def _scan(root: str, names: Sequence[str], info: VideoInfo) -> VideoScan:
    return scan_video(root, info, names, info.split != "test")


def _strangers(root: str | os.PathLike, videos: Sequence[VideoInfo]) -> Iterator[tuple[str, str]]:
    """Folders of the subsets that the metadata do not name."""
    known = {(video.subset, video.uid) for video in videos}
    for subset in sorted({video.subset for video in videos}):
        folder = os.path.join(root, subset)
        for uid in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            if (subset, uid) not in known and os.path.isdir(os.path.join(folder, uid)):
                yield "folder that metadata.csv lacks (it is left out)", f"{subset}/{uid}"


def checked_metadata(root: str | os.PathLike, names: Sequence[str]) -> list[VideoInfo]:
    """Read AVSBench-semantic's lists; videos by subset and name. Other names are an error."""
    videos, found = read_metadata(root)
    if found != tuple(names):
        other = next((f for f, name in zip(found, names, strict=False) if f != name), None)
        raise ValueError(
            f"'{os.path.join(root, 'label2idx.json')}': expected {len(names)} names in the "
            f"project's order, found {len(found)}"
            + (f", the first other one is '{other}'" if other else "")
        )
    return sorted(videos, key=lambda video: (video.subset, video.uid))


def write_list(path: str, scans: Sequence[VideoScan], names: Sequence[str]) -> dict[str, int]:
    """Write the JSON of scanned videos, those with something to show, and count what is in it."""
    content: dict[str, list[dict]] = {
        "videos": [],
        "annotations": [],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names, start=1)],
    }
    for found in scans:
        if found.video is None:
            continue
        video_id = len(content["videos"]) + 1
        content["videos"].append({"id": video_id} | found.video)
        for annotation in found.annotations:
            number = {"id": len(content["annotations"]) + 1, "video_id": video_id}
            content["annotations"].append(number | annotation)
    write_json(path, content, indent=None)
    return {
        "videos": len(content["videos"]),
        "frames": sum(video["length"] for video in content["videos"]),
        "labeled frames": sum(
            f is not None for video in content["videos"] for f in video["label_files"]
        ),
        "objects": len(content["annotations"]),
    }


class Journal:
    """Remembers scans of a run in a file beside its result, so that a broken-off run goes on."""

    def __init__(self, path: str, job: tuple):
        """
        Args:
            path: of the result.
            job: what the scans depend on; another job has another journal.
        """
        self.path = f"{path}.partial-{zlib.crc32(repr(job).encode()):08x}"

    def scan(
        self,
        videos: Sequence[VideoInfo],
        scan: Callable[[VideoInfo], VideoScan],
        workers: int,
        what: str,
    ) -> dict[VideoInfo, VideoScan]:
        """Scan the videos; those that a broken-off run finished without a problem are read."""
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        done = self._read()
        found = {video: done[video.uid] for video in videos if video.uid in done}
        todo = [video for video in videos if video not in found]
        with open(self.path, "w", encoding="utf-8") as file:
            for video, scanned in found.items():
                _write_line(file, video.uid, scanned)
            scans = map_in_processes(scan, todo, workers, what, "video")
            for video, scanned in zip(todo, scans, strict=True):
                found[video] = scanned
                if not scanned.problems:
                    _write_line(file, video.uid, scanned)
        return found

    def _read(self) -> dict[str, VideoScan]:
        done = {}
        if os.path.isfile(self.path):
            with open(self.path, encoding="utf-8") as file:
                for line in file:
                    try:
                        entry = json.loads(line)
                    except ValueError:
                        break  # the line at which the run was broken off
                    done[entry["uid"]] = VideoScan(entry["video"], entry["annotations"])
            logger.info("Going on with '%s': %d videos are done.", self.path, len(done))
        return done

    def remove(self) -> None:
        """The result is written."""
        os.remove(self.path)


def _write_line(file, uid: str, found: VideoScan) -> None:
    entry = {"uid": uid, "video": found.video, "annotations": found.annotations}
    file.write(json.dumps(entry) + "\n")
