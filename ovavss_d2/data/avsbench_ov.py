"""The folder that the authors of AVSBench-OV publish: used as it is, checked, and its test list
added.

    <openvoc>/avsbench_ov_train_base.json   avsbench_ov_val_base_novel.json
    <openvoc>/{train,val,test}/JPEGImages/<video>/<frame>.jpg
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from ovavss_d2.data.avsbench import VideoInfo, VideoScan, frame_size, scan_video, sound_problem
from ovavss_d2.data.parallel import map_in_processes
from ovavss_d2.data.records import load_records
from ovavss_d2.data.split_lists import Journal, SplitReport, checked_metadata, write_list

AUTHORS_FILES = {
    "train": "avsbench_ov_train_base.json",
    "val": "avsbench_ov_val_base_novel.json",
}
AUTHORS_TEST_FILE = "avsbench_ov_test_all.json"


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

    Raises:
        FileNotFoundError, ValueError: the folder, metadata.csv or label2idx.json is missing, or
            broken.
    """
    videos = {video.uid: video for video in checked_metadata(root, names)}
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
    chosen = [videos[name] for name in found if name in videos]
    path = os.path.join(openvoc, AUTHORS_TEST_FILE)
    journal = Journal(path, (os.fspath(root), images, tuple(names), chosen))
    scan = partial(_scan_test_video, os.fspath(root), images, tuple(names))
    scans = journal.scan(chosen, scan, workers, AUTHORS_TEST_FILE)
    for video in chosen:
        report.add_problems(scans[video].problems)
    report.files[AUTHORS_TEST_FILE] = write_list(path, [scans[video] for video in chosen], names)
    journal.remove()
    return report


def _scan_test_video(root: str, images: str, names: Sequence[str], info: VideoInfo) -> VideoScan:
    scan = scan_video(root, replace(info, split="test"), names, with_masks=False)
    if scan.video is None:
        return scan
    files = [f"{info.uid}/{os.path.basename(path)}" for path in scan.video["file_names"]]
    scan.problems += [
        (kind, f"test/JPEGImages/{file}")
        for file in files
        if (kind := _frame_problem(os.path.join(images, file)))
    ]
    scan.video["file_names"] = files
    return scan


def _frame_problem(path: str, size: tuple[int, int] | None = None) -> str | None:
    """What is wrong with a frame that should be of a size (width, height)."""
    if not os.path.isfile(path):
        return "missing frame"
    try:
        found = frame_size(path)
    except ValueError:
        return "broken frame"
    if size is not None and found != size:
        return "frame of another size than its list says (it is scaled)"
    return None


def check_authors_lists(
    openvoc: str | os.PathLike,
    root: str | os.PathLike,
    names: Sequence[str],
    workers: int = 0,
) -> SplitReport:
    """Look whether the authors' training and validation lists, and what they name, can be used.

    Nothing is changed. Arguments are those of `add_authors_test`.

    Raises:
        ValueError: a list is broken.
    """
    report = SplitReport()
    for split, file_name in AUTHORS_FILES.items():
        path = os.path.join(openvoc, file_name)
        if not os.path.isfile(path):
            report.add_problems([("missing list of the authors", file_name)])
            continue
        images = os.path.join(openvoc, split, "JPEGImages")
        records = load_records(
            path,
            image_root=images,
            sound_root=os.fspath(root),
            names=names,
            training=split == "train",
        )
        for problems in map_in_processes(_record_problems, records, workers, file_name, "video"):
            report.add_problems(problems)
        report.files[file_name] = {
            "videos": len(records),
            "frames": sum(len(record["file_names"]) for record in records),
            "objects": sum(len(record.get("annotations", ())) for record in records),
        }
    return report


def _record_problems(record: dict) -> list[tuple[str, str]]:
    size = record["width"], record["height"]
    problems = [(_frame_problem(path, size), path) for path in record["file_names"]]
    sound = record["audio_file"] or f"{record['video_id']}/audio.wav"
    problems.append((sound_problem(sound, record["times"][-1]), sound))
    return [(kind, place) for kind, place in problems if kind]
