"""AVSBench-OV's published folder: used as it is, checked, and its missing test list added.

<folder>/avsbench_ov_train_base.json  avsbench_ov_val_base_novel.json
<folder>/{train,val,test}/JPEGImages/<video>/<frame>.jpg
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from ovavss_d2.data.avsbench import VideoInfo, VideoScan, audio_problem, frame_size, scan_video
from ovavss_d2.data.parallel import map_in_processes
from ovavss_d2.data.records import load_records
from ovavss_d2.data.split_lists import SplitReport, checked_metadata, resumable_scan, write_list

PUBLISHED_FILES = {"train": "avsbench_ov_train_base.json", "val": "avsbench_ov_val_base_novel.json"}
TEST_FILE = "avsbench_ov_test_all.json"


def add_test_list(
    folder: str | os.PathLike, root: str | os.PathLike, names: Sequence[str], workers: int = 0
) -> SplitReport:
    """Write the test list, which is not published, with AVSBench-semantic's ground truth.

    Args:
        folder: AVSBench-OV's folder.
        root: AVSBench-semantic's folder.
        names: the 70 names.
        workers: processes; 0 or 1 uses this process.

    Raises:
        FileNotFoundError, ValueError: the test folder, metadata.csv or label2idx.json is missing
            or broken.
    """
    videos = {video.uid: video for video in checked_metadata(root, names)}
    images = os.path.join(folder, "test", "JPEGImages")
    if not os.path.isdir(images):
        raise FileNotFoundError(
            f"'{images}' is missing: it comes with AVSBench-OV, see datasets/README.md"
        )
    report = SplitReport()
    found = sorted(os.listdir(images))
    report.add_problems(
        ("test video missing from metadata.csv", name) for name in found if name not in videos
    )
    chosen = [videos[name] for name in found if name in videos]
    path = os.path.join(folder, TEST_FILE)
    scan = partial(_scan_test_video, os.fspath(root), images, tuple(names))
    with resumable_scan(path, chosen, scan, workers, (os.fspath(root), images, names)) as scans:
        for video in chosen:
            report.add_problems(scans[video].problems)
        report.files[TEST_FILE] = write_list(path, [scans[video] for video in chosen], names)
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
    """Check a frame, and its size (width, height) where one is given."""
    if not os.path.isfile(path):
        return "missing frame"
    try:
        found = frame_size(path)
    except ValueError:
        return "broken frame"
    if size is not None and found != size:
        return "frame size differs from its list (resized)"
    return None


def check_published_lists(
    folder: str | os.PathLike, root: str | os.PathLike, names: Sequence[str], workers: int = 0
) -> SplitReport:
    """Check the published training and validation lists and the files that they name.

    Nothing is changed. Arguments are those of `add_test_list`.

    Raises:
        ValueError: a list is broken.
    """
    report = SplitReport()
    for split, file_name in PUBLISHED_FILES.items():
        path = os.path.join(folder, file_name)
        if not os.path.isfile(path):
            report.add_problems([("missing list of AVSBench-OV", file_name)])
            continue
        records = load_records(
            path,
            image_root=os.path.join(folder, split, "JPEGImages"),
            audio_root=os.fspath(root),
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
    checks = [(_frame_problem(path, size), path) for path in record["file_names"]]
    audio = record["audio_file"] or f"{record['video_id']}/audio.wav"
    checks.append((audio_problem(audio, record["times"][-1]), audio))
    return [(kind, path) for kind, path in checks if kind]
