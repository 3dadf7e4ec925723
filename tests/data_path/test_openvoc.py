import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from ovavss_d2.data import openvoc
from ovavss_d2.data.avsbench import scan_video
from ovavss_d2.data.openvoc import DERIVED_FILES, add_authors_test, derive_openvoc_split
from ovavss_d2.vocabulary import AVSBENCH_BASE_IDS, AVSBENCH_NAMES


def derive(tree, out, **kwargs):
    return derive_openvoc_split(tree.root, out, AVSBENCH_NAMES, AVSBENCH_BASE_IDS, **kwargs)


def read(out, split):
    return json.loads((out / DERIVED_FILES[split]).read_text())


def contents(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_train_and_val_have_base_names_only_and_test_has_all(full_tree, tmp_path):
    report = derive(full_tree, tmp_path / "out")
    named = {
        split: {v["name"] for v in read(tmp_path / "out", split)["videos"]}
        for split in DERIVED_FILES
    }
    assert named == {
        "train": {"half", "two", "long"},
        "val": {"val_base"},
        "test": {"test_base", "test_novel", "test_mixed"},
    }
    for split in ("train", "val"):
        content = read(tmp_path / "out", split)
        assert {a["category_id"] for a in content["annotations"]} <= set(AVSBENCH_BASE_IDS)
        base = {AVSBENCH_NAMES[i - 1] for i in AVSBENCH_BASE_IDS}
        assert all(base.issuperset(video["names"]) for video in content["videos"])
    assert read(tmp_path / "out", "test")["annotations"] == []
    counts = {"videos": 3, "objects": 4, "labelled frames": 16}
    assert report.files["derived_train_base.json"] == counts
    assert "no problem found" in str(report)


def test_bytes_are_the_same_on_every_run_and_for_any_number_of_workers(full_tree, tmp_path):
    for name, workers in (("a", 0), ("b", 2)):
        derive(full_tree, tmp_path / name, workers=workers)
    first = contents(tmp_path / "a")
    assert sorted(first) == sorted(DERIVED_FILES.values())
    assert contents(tmp_path / "b") == first
    derive(full_tree, tmp_path / "a")
    assert contents(tmp_path / "a") == first


def test_a_broken_off_run_goes_on(full_tree, tmp_path, monkeypatch):
    derive(full_tree, tmp_path / "whole")
    seen = []

    def stop_at_two(root, info, names, with_masks):
        if info.uid == "two" and len(seen) < 3:
            raise KeyboardInterrupt
        seen.append(info.uid)
        return scan_video(root, info, names, with_masks)

    monkeypatch.setattr(openvoc, "scan_video", stop_at_two)
    with pytest.raises(KeyboardInterrupt):
        derive(full_tree, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.json"))
    assert "two" not in seen
    monkeypatch.setattr(openvoc, "scan_video", scan_video)
    derive(full_tree, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_problems_are_counted_with_examples(full_tree, tmp_path):
    shutil.rmtree(full_tree.root / "v2/test_mixed/labels_rgb")
    report = derive(full_tree, tmp_path / "out")
    assert report.problems["missing label"] == 10
    assert len(report.examples["missing label"]) == 3
    assert "10 x missing label: v2/test_mixed/labels_rgb/0.png" in str(report)


def test_other_names_than_expected_are_one_line(full_tree, tmp_path):
    with pytest.raises(ValueError, match="label2idx.json': expected 2 names") as error:
        derive_openvoc_split(full_tree.root, tmp_path / "out", ("dog", "cat"), (1,))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_the_authors_folder_gets_a_test_list(full_tree, tmp_path):
    images = tmp_path / "AVSBench-openvoc/test/JPEGImages"
    for subset, uid in (("v1s", "test_base"), ("v2", "test_mixed")):
        shutil.copytree(full_tree.root / subset / uid / "frames", images / uid)
    (images / "stranger").mkdir()
    report = add_authors_test(tmp_path / "AVSBench-openvoc", full_tree.root, AVSBENCH_NAMES)
    content = json.loads((tmp_path / "AVSBench-openvoc/avsbench_ov_test_all.json").read_text())
    assert [v["name"] for v in content["videos"]] == ["test_base", "test_mixed"]
    assert content["videos"][0]["file_names"][1] == "test_base/1.jpg"
    assert content["videos"][0]["label_files"][1] == "v1s/test_base/labels_rgb/1.png"
    assert report.examples["test video that metadata.csv lacks"] == ["stranger"]


@pytest.fixture
def run_script(monkeypatch):
    script = Path(__file__).resolve().parents[2] / "datasets/prepare_avsbench_ov.py"

    def run(*args):
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, args), "--workers", "1"])
        runpy.run_path(str(script), run_name="__main__")

    return run


def test_the_script_makes_the_split_beside_the_data(full_tree, tmp_path, run_script, capsys):
    run_script(full_tree.root)
    assert "derived_test_all.json: 3 videos" in capsys.readouterr().out
    assert sorted(contents(tmp_path / "AVSBench-derived")) == sorted(DERIVED_FILES.values())


def test_the_script_adds_to_the_authors_files(full_tree, tmp_path, run_script):
    images = tmp_path / "AVSBench-openvoc/test/JPEGImages"
    shutil.copytree(full_tree.root / "v2/test_mixed/frames", images / "test_mixed")
    run_script(full_tree.root)
    assert (tmp_path / "AVSBench-openvoc/avsbench_ov_test_all.json").is_file()
    assert not (tmp_path / "AVSBench-derived").exists()


def test_the_script_says_what_is_missing_in_one_line(tmp_path, run_script):
    with pytest.raises(SystemExit, match="^error: '.*metadata.csv' is missing") as error:
        run_script(tmp_path / "nowhere")
    assert "\n" not in error.value.code
