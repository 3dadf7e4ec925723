"""AVSBench-OV's published folder: used as it is, checked, and its test list added."""

import shutil

import pytest
from detectron2.data import DatasetCatalog
from PIL import Image

from ovavss_d2.data.avsbench_ov import add_test_list, check_published_lists
from ovavss_d2.vocabulary import AVSBENCH_NAMES
from tests.helpers.avsbench_tree import publish


@pytest.fixture
def root(spoilable):
    return spoilable / "AVSBench-semantic"


@pytest.fixture
def folder(spoilable):
    return publish(spoilable)


def test_a_test_list_is_added(root, folder):
    (folder / "test/JPEGImages/unlisted").mkdir()
    report = add_test_list(folder, root, AVSBENCH_NAMES)
    assert report.problems["test video missing from metadata.csv"] == ["unlisted"]
    written = (folder / "avsbench_ov_test_all.json").read_bytes()
    base, mixed = DatasetCatalog.get("avsbench_ov_test_all")
    assert (base["video_id"], mixed["video_id"]) == ("test_base", "test_mixed")
    assert base["file_names"][1] == f"{folder}/test/JPEGImages/test_base/1.jpg"
    assert base["label_files"][1] == f"{root}/v1s/test_base/labels_rgb/1.png"
    assert mixed["names"] == ["man", "harp"]
    add_test_list(folder, root, AVSBENCH_NAMES)
    assert (folder / "avsbench_ov_test_all.json").read_bytes() == written


def test_published_files_give_the_same_records_as_ours(folder):
    for published, ours in (("ov_train_base", "train_base"), ("ov_val_all", "val_base")):
        theirs = DatasetCatalog.get(f"avsbench_{published}")
        for a, b in zip(theirs, DatasetCatalog.get(f"avsbench_derived_{ours}"), strict=True):
            assert a.pop("file_names") != b.pop("file_names")
            assert a == b


def test_intact_lists_have_no_problems_and_are_not_changed(root, folder):
    before = {path: path.read_bytes() for path in folder.glob("*.json")}
    report = check_published_lists(folder, root, AVSBENCH_NAMES)
    assert not report.problems and "no problems found" in str(report)
    counts = {"videos": 3, "frames": 20, "objects": 4}
    assert report.files["avsbench_ov_train_base.json"] == counts
    assert {path: path.read_bytes() for path in folder.glob("*.json")} == before


def test_listed_files_are_checked(root, folder):
    images = folder / "train/JPEGImages"
    (images / "half/0.jpg").unlink()
    (images / "two/1.jpg").write_bytes((images / "two/1.jpg").read_bytes()[:400])
    Image.new("RGB", (9, 9)).save(images / "two/2.jpg")
    (root / "v2/long/audio.wav").unlink()
    assert check_published_lists(folder, root, AVSBENCH_NAMES).problems == {
        "missing frame": [str(images / "half/0.jpg")],
        "broken frame": [str(images / "two/1.jpg")],
        "frame size differs from its list (resized)": [str(images / "two/2.jpg")],
        "missing audio (silence is used)": ["long/audio.wav"],
    }


def test_missing_and_broken_lists_are_reported(root, folder):
    (folder / "avsbench_ov_train_base.json").unlink()
    report = check_published_lists(folder, root, AVSBENCH_NAMES)
    assert report.problems["missing list of AVSBench-OV"] == ["avsbench_ov_train_base.json"]
    (folder / "avsbench_ov_val_base_novel.json").write_text("{")
    with pytest.raises(ValueError, match="val_base_novel.json': broken JSON"):
        check_published_lists(folder, root, AVSBENCH_NAMES)
    shutil.rmtree(folder / "test")
    with pytest.raises(FileNotFoundError, match="JPEGImages' is missing: it comes with AVSBench"):
        add_test_list(folder, root, AVSBENCH_NAMES)
