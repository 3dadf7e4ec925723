"""YouTube-VIS style lists become records; wrong values are errors with their position."""

import copy
import json
import re

import pytest

from ovavss_d2.data.records import load_records

NAMES = ("dog", "violin", "café")
BOX = [[3, 4, 12, 4, 12, 12, 3, 12]]


def own_list():
    """A list with all keys."""
    video = {
        "id": 1, "name": "one", "label": "v2", "length": 2, "height": 24, "width": 32,
        "file_names": ["a/frames/0.jpg", "a/frames/1.jpg"], "times": [0.5, 1], "names": ["dog"],
        "audio_file": "a.wav", "label_files": None,
    }  # fmt: skip
    return {
        "videos": [video],
        "annotations": [{"id": 5, "video_id": 1, "category_id": 1, "segmentations": [BOX, None]}],
        "categories": [{"id": k, "name": name} for k, name in enumerate(NAMES, start=1)],
    }


@pytest.fixture
def load(tmp_path):
    def load(content, **options):
        path = tmp_path / "list.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        options = {"training": False, "label_images": False} | options
        root = str(tmp_path)
        return load_records(str(path), image_root=root, audio_root=root, names=NAMES, **options)

    return load


def test_all_keys_are_read(load, tmp_path):
    (record,) = load(own_list())
    assert record == {
        "video_id": "one",
        "subset": "v2",
        "height": 24,
        "width": 32,
        "file_names": [f"{tmp_path}/a/frames/{i}.jpg" for i in range(2)],
        "times": [0.5, 1.0],
        "audio_file": f"{tmp_path}/a.wav",
        "names": ["dog"],
        "label_files": None,
        "annotations": [{"id": 5, "category_id": 1, "segmentations": [BOX, None]}],
    }


def test_a_plain_youtube_vis_list_loads(load, tmp_path):
    content = own_list()
    for key in ("name", "label", "times", "names", "audio_file", "label_files"):
        del content["videos"][0][key]
    content["videos"][0]["coco_url"] = ""
    content["annotations"][0] |= {"iscrowd": 0, "bboxes": [None, None], "areas": [float("nan")] * 2}
    (tmp_path / "a").mkdir()
    (tmp_path / "a/audio.flac").touch()
    (tmp_path / "a/audio.txt").touch()
    (record,) = load(content, frames_per_second=5)
    assert (record["video_id"], record["subset"], record["names"]) == ("a", "all", ["dog"])
    assert record["times"] == [0, 0.2] and record["audio_file"] == f"{tmp_path}/a/audio.flac"
    assert record["label_files"] is None and len(record["annotations"]) == 1


def test_categories_are_found_by_name_and_ids_may_be_text_or_have_gaps(load):
    content = own_list()
    content["categories"] = [
        {"id": 90, "name": "Cafe\u0301"}, {"id": "7", "name": "violin"}, {"id": 3, "name": "zebra"}
    ]  # fmt: skip
    content["videos"][0] |= {"id": "1", "names": None}
    content["annotations"][0]["category_id"] = 90
    content["annotations"] += [
        {"video_id": 1.0, "category_id": 7, "segmentations": [[], BOX]},
        {"id": "x", "video_id": "1", "category_id": 7, "segmentations": None},
        {"video_id": 1, "category_id": 7, "iscrowd": 1, "segmentation": {}},
    ]
    (record,) = load(content)
    assert record["names"] == ["violin", "café"]
    kept = [(a["id"], a["category_id"], a["segmentations"]) for a in record["annotations"]]
    assert kept == [(5, 3, [BOX, None]), (2, 2, [[], BOX]), (3, 2, [None, None])]


def test_without_categories_their_ids_are_the_positions_of_the_names(load):
    content = own_list() | {"categories": []}
    content["annotations"][0]["category_id"] = 2
    assert load(content)[0]["annotations"][0]["category_id"] == 2
    content["annotations"][0]["category_id"] = 4
    with pytest.raises(ValueError, match=r"annotations\[0\].category_id: 4 is not the id"):
        load(content)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (("a/frames/0.jpg", "b/frames/0.jpg"), ["a", "b"]),
        (("JPEGImages/a/0.jpg", "JPEGImages/b/0.jpg"), ["a", "b"]),
        (("x/a/frames/0.jpg", "y/a/frames/0.jpg"), ["x_a", "y_a"]),
        (("/x/a/0.jpg", "/y/a/0.jpg"), ["x_a", "y_a"]),
        (("a_0.jpg", "b_0.jpg"), ["1", "two"]),
        (("all/a_0.jpg", "all/b_0.jpg"), ["1", "two"]),
    ],
)
def test_videos_without_names_get_distinct_ones(load, frames, expected):
    content = own_list() | {"annotations": []}
    template = content["videos"].pop() | {"length": 1, "times": [0]}
    for number, frame in zip((1, "two"), frames, strict=True):
        video = template | {"id": number, "file_names": [frame]}
        del video["name"]
        content["videos"].append(video)
    assert [record["video_id"] for record in load(content)] == expected


def test_an_empty_list_of_annotations_means_silence_and_none_means_no_ground_truth(load):
    content = own_list()
    assert load(content | {"annotations": []})[0]["annotations"] == []
    assert "annotations" not in load(content | {"annotations": None})[0]
    assert "annotations" not in load(content | {"annotations": []}, label_images=True)[0]
    with pytest.raises(ValueError, match="no annotations to train on"):
        load(content | {"annotations": None}, training=True)


def changed(path, value):
    content = copy.deepcopy(own_list())
    *keys, last = path
    target = content
    for key in keys:
        target = target[key]
    target[last] = value
    return content


VIDEO, MASK = ("videos", 0), ("annotations", 0, "segmentations")
WRONG = [
    (("videos",), {}, "videos: found an object, expected a list"),
    (("videos",), [3], "videos[0]: found 3, expected an object"),
    (("videos", 0), {"id": 1}, "videos[0]: it lacks 'file_names'"),
    ((*VIDEO, "id"), None, "videos[0].id: found None, expected an integer or text"),
    ((*VIDEO, "id"), True, "videos[0].id: found True"),
    ((*VIDEO, "id"), [[]], "videos[0].id: found a list"),
    ((*VIDEO, "name"), "../a", "videos[0]: its name '../a' is not that of a folder"),
    ((*VIDEO, "name"), "/a", "videos[0]: its name '/a' is not"),
    ((*VIDEO, "name"), "", "videos[0]: its name '' is not"),
    ((*VIDEO, "label"), 3, "videos[0].label: found 3, expected text"),
    ((*VIDEO, "length"), 3, "videos[0]: it has 2 frames, but its length is 3"),
    ((*VIDEO, "file_names"), [], "videos[0]: it has 0 frames"),
    ((*VIDEO, "file_names"), ["a.jpg", 5], "videos[0].file_names[1]: found 5, expected text"),
    ((*VIDEO, "file_names"), ["a.jpg", " "], "videos[0].file_names[1]: it is empty"),
    ((*VIDEO, "file_names"), ["a/x.jpg", "b/x.png"], "'a/x.jpg' and 'b/x.png' have the same"),
    ((*VIDEO, "height"), 0, "videos[0].height: found 0, expected an integer from 1"),
    ((*VIDEO, "width"), 32.5, "videos[0].width: found 32.5, expected an integer"),
    ((*VIDEO, "width"), 10**9, "videos[0].width: found 1000000000, expected an integer from 1"),
    ((*VIDEO, "names"), ["cat"], "videos[0].names[0]: 'cat' is not one of the data set's names"),
    ((*VIDEO, "names"), ["x" * 9999], "videos[0].names[0]: 'xxxx"),
    ((*VIDEO, "times"), [0], "videos[0].times: it has length 1, expected 2: one per frame"),
    ((*VIDEO, "times"), [0, float("inf")], "videos[0].times[1]: found inf, expected a number"),
    ((*VIDEO, "times"), [float("nan"), 0], "videos[0].times[0]: found nan, expected a number"),
    ((*VIDEO, "times"), [-1, 0], "videos[0].times[0]: found -1, expected a number from 0"),
    ((*VIDEO, "times"), [0, 10**400], "videos[0].times[1]: found 1000"),
    ((*VIDEO, "times"), [0, "1"], "videos[0].times[1]: found '1', expected a number"),
    ((*VIDEO, "times"), [1, 0], "videos[0].times: they decrease"),
    ((*VIDEO, "audio_file"), 3, "videos[0].audio_file: found 3, expected text"),
    ((*VIDEO, "label_files"), ["a.png"], "videos[0].label_files: it has length 1, expected 2"),
    (("annotations",), {}, "annotations: found an object, expected a list"),
    (("annotations", 0, "video_id"), 9, "annotations[0].video_id: 9 is not the id of a video"),
    (("annotations", 0, "category_id"), 9, "annotations[0].category_id: 9 is not the id of one"),
    (MASK, [BOX], "annotations[0].segmentations: it has length 1, expected 2: one per frame"),
    ((*MASK, 1), 3, "annotations[0].segmentations[1]: expected a mask"),
    ((*MASK, 0), {"size": [3, 3], "counts": [9]}, "segmentations[0]: the mask's size is [3, 3]"),
    (("categories", 0, "id"), 2, "categories[1].id: '2' is the id of two categories"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG)
def test_a_wrong_value_is_an_error_with_its_position(load, path, value, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        load(changed(path, value))
    assert "list.json': " in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_two_videos_of_one_id_or_name_are_an_error(load):
    content = own_list()
    content["videos"].append(content["videos"][0] | {"id": "1"})
    with pytest.raises(ValueError, match=r"videos\[1\].id: '1' is the id of two videos"):
        load(content)
    content["videos"][1]["id"] = 2
    with pytest.raises(ValueError, match=r"videos\[1\]: its name 'one' is also that of videos"):
        load(content)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"videos":' * 50_000, "", "{", '{"videos": [1e', "\ufeff{"]
)
def test_broken_json_is_an_error(load, text):
    with pytest.raises(ValueError, match="list.json': broken JSON") as error:
        load(text)
    assert "\n" not in str(error.value)


def test_a_byte_order_mark_is_read(load):
    assert len(load("\ufeff" + json.dumps(own_list()))) == 1
