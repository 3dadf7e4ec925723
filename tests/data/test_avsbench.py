import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from ovavss_d2.data.avsbench import (
    VideoInfo,
    read_metadata,
    scan_video,
)
from ovavss_d2.vocabulary import AVSBENCH_NAMES

DOG, MAN = AVSBENCH_NAMES.index("dog") + 1, AVSBENCH_NAMES.index("man") + 1


def scan(tree, uid):
    info = next(v for v in read_metadata(tree.root)[0] if v.uid == uid)
    return scan_video(str(tree.root), info, AVSBENCH_NAMES)


def kinds(found):
    return [kind for kind, _ in found.problems]


def test_metadata_gives_names_and_splits(full_tree):
    videos, names = read_metadata(full_tree.root)
    assert names == AVSBENCH_NAMES
    assert videos[1] == VideoInfo("two", "v1m", "train", ("dog", "man"))


@pytest.mark.parametrize(
    "text, message",
    [
        ("vid,uid,split,label\n", "line 1: the header lacks a_obj"),
        ("uid,a_obj,split,label\na,dog,train,v2\nb,dog,play,v2\n", "line 3: split 'play'"),
        ("uid,a_obj,split,label\na,dog,train\n", "line 2: no value for label"),
        ("uid,a_obj,split,label\n,dog,train,v2\n", "line 2: no value for uid"),
    ],
)
def test_broken_metadata_names_file_and_line(tree, text, message):
    (tree.root / "metadata.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_metadata(tree.root)
    assert "metadata.csv" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"background": 1, "dog": 0}', '{"background": 0, "dog": 2}']
)
def test_broken_label_list_is_one_line(tree, text):
    tree.add("a")
    (tree.root / "label2idx.json").write_text(text)
    with pytest.raises(ValueError, match="label2idx.json") as error:
        read_metadata(tree.root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["metadata.csv", "label2idx.json"])
def test_missing_lists_say_where_they_come_from(tree, name):
    tree.add("a")
    (tree.root / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}' is missing: it comes with"):
        read_metadata(tree.root)


def test_only_named_classes_become_objects(tree):
    tree.add("a", "v1m", names=["man", "dog"], silent=["cat"])
    found = scan(tree, "a")
    assert [a["category_id"] for a in found.annotations] == [DOG, MAN]
    for annotation in found.annotations:
        for i, segmentation in enumerate(annotation["segmentations"]):
            truth = tree.labels(i, ["man", "dog"]) == annotation["category_id"]
            assert (rle.decode(segmentation) == truth).all()
    assert found.annotations[1]["bboxes"][2] == [5, 2, 9, 5]
    assert not found.problems


def test_v1s_training_has_truth_on_its_first_frame_only(tree):
    tree.add("a", "v1s")
    found = scan(tree, "a")
    assert [f is None for f in found.video["label_files"]] == [False] + 4 * [True]
    assert [s is None for s in found.annotations[0]["segmentations"]] == [False] + 4 * [True]


def test_frames_stand_at_the_second_of_their_number(tree):
    folder = tree.add("a", "v2")
    (folder / "frames/3.jpg").unlink()
    found = scan(tree, "a")
    assert found.video["times"] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert kinds(found) == ["missing frame"]


def test_faults_are_told_and_survived(tree):
    folder = tree.add("a", "v1m", names=["dog", "unicorn"][:1])
    (folder / "audio.wav").unlink()
    whole = (folder / "frames/1.jpg").read_bytes()
    (folder / "frames/1.jpg").write_bytes(whole[: len(whole) * 2 // 3])  # its header is sound
    (folder / "labels_rgb/0.png").unlink()
    (folder / "labels_rgb/2.png").write_bytes(b"no picture")
    Image.new("RGB", (64, 48), (1, 2, 3)).save(folder / "labels_rgb/3.png")
    found = scan(tree, "a")
    assert sorted(kinds(found)) == [
        "broken frame",
        "broken label",
        "label of another size than its frame (it is scaled)",
        "missing label",
        "missing sound (silence is used)",
        "unknown colour in a label (background is used)",
    ]
    assert found.video["audio_file"] is None
    assert found.video["length"] == 4
    assert [f is None for f in found.video["label_files"]] == [True, True, False, False]


@pytest.mark.parametrize(
    "samples, kind, used",
    [
        (None, "broken sound (silence is used)", False),
        (np.zeros(80000), "sound that is digital silence", True),
        (np.ones(64000), "sound that ends before the last frame (silence follows)", True),
        (np.ones(79000), None, True),
    ],
)
def test_sounds_are_listened_to(tree, wav, samples, kind, used):
    path = tree.add("a", "v1m") / "audio.wav"
    path.write_bytes(b"RIFF no sound") if samples is None else wav(path, samples)
    found = scan(tree, "a")
    assert kinds(found) == ([kind] if kind else [])
    assert (found.video["audio_file"] is not None) == used


def test_more_frames_than_the_subset_has_are_told(tree):
    folder = tree.add("a", "v1m")
    for part, end in (("frames", "jpg"), ("labels_rgb", "png")):
        (folder / f"{part}/5.{end}").write_bytes((folder / f"{part}/4.{end}").read_bytes())
    found = scan(tree, "a")
    assert found.video["length"] == 6
    assert kinds(found) == [
        "frame beyond its subset's number (it is used)",
        "sound that ends before the last frame (silence follows)",
    ]


def test_names_outside_the_list_are_told(tree):
    tree.rows.append(("x", "a", 0, 0, "dog_unicorn", "train", "v2"))
    folder = tree.add("b")
    folder.rename(folder.parent / "a")
    found = scan(tree, "a")
    assert found.video["names"] == ["dog"]
    assert found.problems == [("name that label2idx.json lacks", "v2/a: unicorn")]


def test_an_empty_folder_is_left_out(tree):
    tree.rows.append(("x", "gone", 0, 0, "dog", "train", "v1m"))
    tree.write_metadata()
    found = scan(tree, "gone")
    assert found.video is None
    assert kinds(found) == 5 * ["missing frame"] + [
        "video without a readable frame (it is left out)"
    ]
