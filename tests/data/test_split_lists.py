import json
import runpy
import shutil

import pytest

from ovavss_d2.data import split_lists
from ovavss_d2.data.avsbench import scan_video
from ovavss_d2.data.split_lists import (
    CLOSED_FILES,
    DERIVED_FILES,
    closed_lists,
    derived_lists,
    write_lists,
)
from ovavss_d2.vocabulary import AVSBENCH_BASE_IDS, AVSBENCH_NAMES
from tests.helpers.paths import REPOSITORY


def derive(tree, folder, workers=0):
    lists = derived_lists(folder, AVSBENCH_NAMES, AVSBENCH_BASE_IDS)
    return write_lists(tree.root, lists, AVSBENCH_NAMES, workers)


def read(folder, files):
    return {split: json.loads((folder / name).read_text()) for split, name in files.items()}


def video_names(lists):
    return {split: {v["name"] for v in content["videos"]} for split, content in lists.items()}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_train_and_val_have_base_names_only_and_test_has_all(full_tree, tmp_path):
    report = derive(full_tree, tmp_path / "out")
    lists = read(tmp_path / "out", DERIVED_FILES)
    assert video_names(lists) == {
        "train": {"half", "two", "long"},
        "val": {"val_base"},
        "test": {"test_base", "test_novel", "test_mixed"},
    }
    base = {AVSBENCH_NAMES[i - 1] for i in AVSBENCH_BASE_IDS}
    for split in ("train", "val"):
        assert {a["category_id"] for a in lists[split]["annotations"]} <= set(AVSBENCH_BASE_IDS)
        assert all(base.issuperset(video["names"]) for video in lists[split]["videos"])
    assert lists["test"]["annotations"] == []
    counts = {"videos": 3, "frames": 20, "labeled frames": 16, "objects": 4}
    assert report.files["derived_train_base.json"] == counts
    assert "no problems found" in str(report)


def test_the_closed_set_takes_every_video_with_all_names(full_tree, tmp_path):
    report = write_lists(full_tree.root, closed_lists(tmp_path / "out"), AVSBENCH_NAMES)
    lists = read(tmp_path / "out", CLOSED_FILES)
    assert video_names(lists) == {
        "train": {"half", "two", "long", "unfit"},
        "val": {"val_base", "val_novel"},
        "test": {"test_base", "test_novel", "test_mixed"},
    }
    assert len(lists["train"]["annotations"]) == 6 and not lists["test"]["annotations"]
    assert report.files["closed_val.json"]["objects"] == 2


def test_bytes_are_the_same_for_every_run_and_number_of_workers(full_tree, tmp_path):
    for name, workers in (("a", 0), ("b", 2)):
        derive(full_tree, tmp_path / name, workers=workers)
    first = contents(tmp_path / "a")
    assert sorted(first) == sorted(DERIVED_FILES.values())
    assert contents(tmp_path / "b") == first
    derive(full_tree, tmp_path / "a")
    assert contents(tmp_path / "a") == first


def test_an_interrupted_run_resumes(full_tree, tmp_path, monkeypatch):
    derive(full_tree, tmp_path / "whole")
    scanned = []

    def interrupted_scan(root, info, names, with_masks):
        if info.uid == "two" and len(scanned) < 3:
            raise KeyboardInterrupt
        scanned.append(info.uid)
        return scan_video(root, info, names, with_masks)

    monkeypatch.setattr(split_lists, "scan_video", interrupted_scan)
    with pytest.raises(KeyboardInterrupt):
        derive(full_tree, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.json"))
    first = list(scanned)
    scanned += [None] * 3
    (progress,) = (tmp_path / "out").glob("*.partial-*")
    progress.write_bytes(
        progress.read_bytes() + b"\n3\n[[], 1, 2]\n\0\xff\n" + b"[" * 9999 + b"\n["
    )
    derive(full_tree, tmp_path / "out")
    assert first and not set(first) & set(scanned[len(first) :])
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_problems_are_counted_with_examples(full_tree, tmp_path):
    shutil.rmtree(full_tree.root / "v2/test_mixed/labels_rgb")
    (full_tree.root / "v2" / "unlisted").mkdir()
    report = derive(full_tree, tmp_path / "out")
    labels = [f"v2/test_mixed/labels_rgb/{i}.png" for i in range(10)]
    assert report.problems["missing label"] == labels
    assert f"10 x missing label: {', '.join(labels[:3])}\n" in str(report) + "\n"
    assert report.problems["folder missing from metadata.csv (skipped)"] == ["v2/unlisted"]


def test_unexpected_names_give_one_line(full_tree, tmp_path):
    with pytest.raises(ValueError, match="label2idx.json': expected 2 names") as error:
        write_lists(full_tree.root, closed_lists(tmp_path / "out"), ("dog", "cat"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def run_script():
    script = runpy.run_path(str(REPOSITORY / "datasets/prepare_avsbench_ov.py"))
    return lambda root: script["main"]([str(root), "--workers", "1"])


def test_the_script_writes_lists_beside_the_data(full_tree, tmp_path, run_script, capsys):
    run_script(full_tree.root)
    output = capsys.readouterr().out
    assert "derived_test_all.json: 3 videos" in output and "closed_train.json: 4 videos" in output
    assert sorted(contents(tmp_path / "AVSBench-closed")) == sorted(CLOSED_FILES.values())
    derive(full_tree, tmp_path / "alone")
    assert contents(tmp_path / "alone") == contents(tmp_path / "AVSBench-derived")


def test_the_script_extends_the_published_folder(full_tree, tmp_path, run_script, capsys):
    images = tmp_path / "AVSBench-openvoc/test/JPEGImages"
    shutil.copytree(full_tree.root / "v2/test_mixed/frames", images / "test_mixed")
    run_script(full_tree.root)
    assert (tmp_path / "AVSBench-openvoc/avsbench_ov_test_all.json").is_file()
    assert (tmp_path / "AVSBench-closed/closed_test.json").is_file()
    assert not (tmp_path / "AVSBench-derived").exists()
    assert "2 x missing list of AVSBench-OV: avsbench_ov_train_base" in capsys.readouterr().out


def test_the_script_names_a_missing_file_in_one_line(tmp_path, run_script, capsys):
    with pytest.raises(SystemExit) as end:
        run_script(tmp_path / "nowhere")
    message = capsys.readouterr().err
    assert end.value.code == 1 and message.count("\n") == 1
    assert message.startswith("error: '") and "metadata.csv' is missing" in message
    assert not list(tmp_path.iterdir())
