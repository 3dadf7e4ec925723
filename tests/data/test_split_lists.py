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
    write_derived_lists,
    write_lists,
)
from ovavss_d2.vocabulary import AVSBENCH_BASE_IDS, AVSBENCH_NAMES
from tests.helpers.paths import REPOSITORY


def derive(tree, out, **kwargs):
    return write_derived_lists(tree.root, out, AVSBENCH_NAMES, AVSBENCH_BASE_IDS, **kwargs)


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
    counts = {"videos": 3, "frames": 20, "labeled frames": 16, "objects": 4}
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

    monkeypatch.setattr(split_lists, "scan_video", stop_at_two)
    with pytest.raises(KeyboardInterrupt):
        derive(full_tree, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.json"))
    assert "two" not in seen
    monkeypatch.setattr(split_lists, "scan_video", scan_video)
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
        write_derived_lists(full_tree.root, tmp_path / "out", ("dog", "cat"), (1,))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_the_closed_set_takes_every_video_with_all_names(full_tree, tmp_path):
    report = write_lists(full_tree.root, closed_lists(tmp_path / "out"), AVSBENCH_NAMES)
    content = {
        split: json.loads((tmp_path / "out" / name).read_text())
        for split, name in CLOSED_FILES.items()
    }
    named = {split: {v["name"] for v in content[split]["videos"]} for split in content}
    assert named == {
        "train": {"half", "two", "long", "unfit"},
        "val": {"val_base", "val_novel"},
        "test": {"test_base", "test_novel", "test_mixed"},
    }
    assert len(content["train"]["annotations"]) == 6 and not content["test"]["annotations"]
    assert report.files["closed_val.json"]["objects"] == 2


def test_folders_that_the_metadata_lack_are_told(full_tree, tmp_path):
    (full_tree.root / "v2" / "stranger").mkdir()
    report = derive(full_tree, tmp_path / "out")
    assert report.examples["folder that metadata.csv lacks (it is left out)"] == ["v2/stranger"]


@pytest.fixture
def run_script():
    path = str(REPOSITORY / "datasets/prepare_avsbench_ov.py")
    script = runpy.run_path(path)

    def run(*args):
        script["main"]([*map(str, args), "--workers", "1"])

    return run


def test_the_script_makes_the_lists_beside_the_data(full_tree, tmp_path, run_script, capsys):
    run_script(full_tree.root)
    said = capsys.readouterr().out
    assert "derived_test_all.json: 3 videos" in said and "closed_train.json: 4 videos" in said
    assert sorted(contents(tmp_path / "AVSBench-derived")) == sorted(DERIVED_FILES.values())
    assert sorted(contents(tmp_path / "AVSBench-closed")) == sorted(CLOSED_FILES.values())
    derive(full_tree, tmp_path / "alone")
    assert contents(tmp_path / "alone") == contents(tmp_path / "AVSBench-derived")


def test_the_script_adds_to_the_authors_files(full_tree, tmp_path, run_script, capsys):
    images = tmp_path / "AVSBench-openvoc/test/JPEGImages"
    shutil.copytree(full_tree.root / "v2/test_mixed/frames", images / "test_mixed")
    run_script(full_tree.root)
    assert (tmp_path / "AVSBench-openvoc/avsbench_ov_test_all.json").is_file()
    assert (tmp_path / "AVSBench-closed/closed_test.json").is_file()
    assert not (tmp_path / "AVSBench-derived").exists()
    assert "2 x missing list of the authors: avsbench_ov_train_base.json" in capsys.readouterr().out


def test_the_script_says_what_is_missing_in_one_line(tmp_path, run_script, capsys):
    with pytest.raises(SystemExit) as end:
        run_script(tmp_path / "nowhere")
    said = capsys.readouterr().err
    assert end.value.code == 1 and said.count("\n") == 1
    assert said.startswith("error: '") and "metadata.csv' is missing" in said
    assert not list(tmp_path.iterdir())
