import os
import shutil

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from ovavss_d2.data.avsbench import VideoInfo, read_metadata, scan_video
from ovavss_d2.vocabulary import AVSBENCH_NAMES
from tests.helpers.audio_files import wav_bytes

DOG, MAN = AVSBENCH_NAMES.index("dog") + 1, AVSBENCH_NAMES.index("man") + 1


def scan(tree, uid):
    info = next(v for v in read_metadata(tree.root)[0] if v.uid == uid)
    return scan_video(str(tree.root), info, AVSBENCH_NAMES)


def kinds(scanned):
    return [kind for kind, _ in scanned.problems]


def test_metadata_gives_names_and_splits(full_tree):
    videos, names = read_metadata(full_tree.root)
    assert names == AVSBENCH_NAMES
    assert videos[1] == VideoInfo("two", "v1m", "train", ("dog", "man"))


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("metadata.csv", "vid,uid,split,label\n", "line 1: the header lacks a_obj"),
        ("metadata.csv", "uid,a_obj,split,label\n\nb,dog,play,v2\n", "line 3: split 'play'"),
        ("metadata.csv", "uid,a_obj,split,label\na,dog,train\n", "line 2: no value for label"),
        ("metadata.csv", "uid,a_obj,split,label\n,dog,train,v2\n", "line 2: no value for uid"),
        ("metadata.csv", "uid,a_obj,split,label\n../b,dog,train,v2\n", "line 2: uid '../b' is not"),
        ("metadata.csv", "uid,a_obj,split,label\nb,dog,train,..\n", "line 2: label '..' is not"),
        ("label2idx.json", "{", "broken JSON"),
        ("label2idx.json", "[" * 100_000, "broken JSON"),
        ("label2idx.json", "[]", "expected 'background' with id 0"),
        ("label2idx.json", '{"background": 1, "dog": 0}', "expected 'background' with id 0"),
        ("label2idx.json", '{"background": 0, "dog": 2}', "names with ids 1 to K"),
        ("metadata.csv", None, "is missing: it comes with"),
        ("label2idx.json", None, "is missing: it comes with"),
    ],
)
def test_broken_metadata_give_one_line_with_the_file(tree, name, text, message):
    tree.add("a")
    if text is None:
        (tree.root / name).unlink()
    else:
        (tree.root / name).write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        read_metadata(tree.root)
    assert name in str(error.value) and "\n" not in str(error.value)


def test_only_named_classes_become_objects(tree):
    tree.add("a", "v1m", names=["man", "dog"], silent=["cat"])
    scanned = scan(tree, "a")
    assert [a["category_id"] for a in scanned.annotations] == [DOG, MAN]
    for annotation in scanned.annotations:
        for i, segmentation in enumerate(annotation["segmentations"]):
            truth = tree.labels(i, ["man", "dog"]) == annotation["category_id"]
            assert (rle.decode(segmentation) == truth).all()
    assert scanned.annotations[1]["bboxes"][2] == [5, 2, 9, 5]
    assert not scanned.problems


def test_v1s_training_videos_have_labels_on_the_first_frame_only(tree):
    tree.add("a", "v1s")
    scanned = scan(tree, "a")
    assert [f is None for f in scanned.video["label_files"]] == [False] + 4 * [True]
    assert [s is None for s in scanned.annotations[0]["segmentations"]] == [False] + 4 * [True]


def test_frame_numbers_are_seconds(tree):
    (tree.add("a", "v2") / "frames/3.jpg").unlink()
    scanned = scan(tree, "a")
    assert scanned.video["times"] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert kinds(scanned) == ["missing frame"]


def test_strange_files_among_the_frames_are_not_frames(tree):
    frames = tree.add("a", "v1m") / "frames"
    for name in ("._0.jpg", "20240131235959.jpg", "²3.jpg", "Thumbs.db"):
        shutil.copy(frames / "0.jpg", frames / name)
    (frames / "4.jpg").unlink()
    os.mkfifo(frames / "4.jpg")
    scanned = scan(tree, "a")
    assert scanned.video["times"] == [0, 1, 2, 3]
    assert kinds(scanned) == ["broken frame"]


def test_broken_files_are_reported_and_skipped(tree):
    folder = tree.add("a", "v1m", names=["dog"])
    (folder / "audio.wav").unlink()
    whole = (folder / "frames/1.jpg").read_bytes()
    (folder / "frames/1.jpg").write_bytes(whole[: len(whole) * 2 // 3])  # the header is intact
    (folder / "labels_rgb/0.png").unlink()
    (folder / "labels_rgb/2.png").write_bytes(b"no image")
    Image.new("RGB", (64, 48), (1, 2, 3)).save(folder / "labels_rgb/3.png")
    scanned = scan(tree, "a")
    assert sorted(kinds(scanned)) == [
        "broken frame",
        "broken label",
        "label size differs from its frame (resized)",
        "missing audio (silence is used)",
        "missing label",
        "unknown color in a label (background is used)",
    ]
    assert scanned.video["audio_file"] is None
    assert scanned.video["length"] == 4
    assert [f is None for f in scanned.video["label_files"]] == [True, True, False, False]


@pytest.mark.parametrize(
    "samples, kind, used",
    [
        (None, "broken audio (silence is used)", False),
        (np.zeros(80000), "audio is digital silence", True),
        (np.ones(64000), "audio ends before the last frame (padded with silence)", True),
        (np.ones(79000), None, True),
    ],
)
def test_audio_is_checked(tree, wav, samples, kind, used):
    path = tree.add("a", "v1m") / "audio.wav"
    path.write_bytes(b"RIFF no audio") if samples is None else wav(path, samples)
    scanned = scan(tree, "a")
    assert kinds(scanned) == ([kind] if kind else [])
    assert (scanned.video["audio_file"] is not None) == used


@pytest.mark.parametrize("header", [{"code": 0x1234}, {"fmt_size": 0x40010}, {"rate": 2**31 - 23}])
def test_a_wrong_wav_header_is_broken_audio(tree, header):
    path = tree.add("a", "v1m") / "audio.wav"
    path.write_bytes(wav_bytes(np.ones(79000, "<i2").tobytes(), **header))
    assert kinds(scan(tree, "a")) == ["broken audio (silence is used)"]


def test_extra_frames_are_used_and_reported(tree):
    folder = tree.add("a", "v1m")
    for part, suffix in (("frames", "jpg"), ("labels_rgb", "png")):
        (folder / f"{part}/5.{suffix}").write_bytes((folder / f"{part}/4.{suffix}").read_bytes())
    scanned = scan(tree, "a")
    assert scanned.video["length"] == 6
    assert kinds(scanned) == [
        "extra frame (used)",
        "audio ends before the last frame (padded with silence)",
    ]


def test_unknown_names_are_reported(tree):
    tree.rows.append(("x", "a", 0, 0, "dog_unicorn", "train", "v2"))
    folder = tree.add("b")
    folder.rename(folder.parent / "a")
    scanned = scan(tree, "a")
    assert scanned.video["names"] == ["dog"]
    assert scanned.problems == [("name missing from label2idx.json", "v2/a: unicorn")]


def test_an_empty_folder_is_skipped(tree):
    tree.rows.append(("x", "gone", 0, 0, "dog", "train", "v1m"))
    tree.write_metadata()
    scanned = scan(tree, "gone")
    assert scanned.video is None
    assert kinds(scanned) == 5 * ["missing frame"] + ["video without readable frames (skipped)"]
