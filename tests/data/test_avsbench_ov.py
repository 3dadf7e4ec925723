"""The folder of AVSBench-OV's authors: used as it is, checked, and its test list added."""

import json
import shutil

import pytest
from PIL import Image

from ovavss_d2.data.avsbench_ov import add_test_list, check_published_lists
from ovavss_d2.data.split_lists import DERIVED_FILES, write_derived_lists
from ovavss_d2.vocabulary import AVSBENCH_BASE_IDS, AVSBENCH_NAMES


@pytest.fixture
def folder(full_tree, tmp_path):
    """The authors' folder for the small tree, in their form."""
    openvoc = tmp_path / "AVSBench-openvoc"
    for split, places in {
        "train": ("v1s/half", "v1m/two", "v2/long"),
        "val": ("v1s/val_base",),
        "test": ("v1s/test_base", "v2/test_mixed"),
    }.items():
        for place in places:
            images = openvoc / split / "JPEGImages" / place.split("/")[1]
            shutil.copytree(full_tree.root / place / "frames", images)
    write_derived_lists(full_tree.root, tmp_path / "own", AVSBENCH_NAMES, AVSBENCH_BASE_IDS)
    for split, name in (("train", "train_base"), ("val", "val_base_novel")):
        content = json.loads((tmp_path / "own" / DERIVED_FILES[split]).read_text())
        for video in content["videos"]:
            for key in ("names", "times", "audio_file", "label_files"):
                video.pop(key)
            uid = video.pop("name")
            video["file_names"] = [f"{uid}/{i}.jpg" for i in range(video["length"])]
        (openvoc / f"avsbench_ov_{name}.json").write_text(json.dumps(content))
    return openvoc


def test_the_folder_gets_a_test_list(full_tree, folder):
    (folder / "test/JPEGImages/stranger").mkdir()
    report = add_test_list(folder, full_tree.root, AVSBENCH_NAMES)
    content = json.loads((folder / "avsbench_ov_test_all.json").read_text())
    assert [v["name"] for v in content["videos"]] == ["test_base", "test_mixed"]
    assert content["videos"][0]["file_names"][1] == "test_base/1.jpg"
    assert content["videos"][0]["label_files"][1] == "v1s/test_base/labels_rgb/1.png"
    assert report.examples["test video that metadata.csv lacks"] == ["stranger"]


def test_bytes_are_the_same_on_every_run(full_tree, folder):
    written = []
    for _ in range(2):
        add_test_list(folder, full_tree.root, AVSBENCH_NAMES)
        written.append((folder / "avsbench_ov_test_all.json").read_bytes())
    assert written[0] == written[1]


def test_whole_lists_have_no_problem_and_stay_as_they_are(full_tree, folder):
    before = {path: path.read_bytes() for path in folder.glob("*.json")}
    report = check_published_lists(folder, full_tree.root, AVSBENCH_NAMES)
    assert not report.problems and "no problem found" in str(report)
    counts = {"videos": 3, "frames": 20, "objects": 4}
    assert report.files["avsbench_ov_train_base.json"] == counts
    assert {path: path.read_bytes() for path in folder.glob("*.json")} == before


def test_what_the_lists_name_is_looked_at(full_tree, folder):
    images = folder / "train/JPEGImages"
    (images / "half/0.jpg").unlink()
    (images / "two/1.jpg").write_bytes((images / "two/1.jpg").read_bytes()[:400])
    Image.new("RGB", (9, 9)).save(images / "two/2.jpg")
    (full_tree.root / "v2/long/audio.wav").unlink()
    report = check_published_lists(folder, full_tree.root, AVSBENCH_NAMES)
    assert report.problems == {
        "missing frame": 1,
        "broken frame": 1,
        "frame of another size than its list says (it is scaled)": 1,
        "missing sound (silence is used)": 1,
    }


def test_missing_and_broken_lists_are_told(full_tree, folder):
    (folder / "avsbench_ov_train_base.json").unlink()
    report = check_published_lists(folder, full_tree.root, AVSBENCH_NAMES)
    assert report.examples["missing list of the authors"] == ["avsbench_ov_train_base.json"]
    (folder / "avsbench_ov_val_base_novel.json").write_text("{")
    with pytest.raises(ValueError, match="val_base_novel.json': broken JSON"):
        check_published_lists(folder, full_tree.root, AVSBENCH_NAMES)
    shutil.rmtree(folder / "test")
    with pytest.raises(FileNotFoundError, match="JPEGImages' is missing: it comes with AVSBench"):
        add_test_list(folder, full_tree.root, AVSBENCH_NAMES)
