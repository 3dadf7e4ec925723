import json
import os
import pickle
import shutil

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from ovavss_d2.data.avsbench_ov import add_test_list
from ovavss_d2.data.catalog import Split, check_dataset, load_split, register_split
from ovavss_d2.vocabulary import AVSBENCH_BASE_IDS, AVSBENCH_NAMES, TOY_NAMES

NAMES = [
    *("avsbench_ov_train_base", "avsbench_ov_val_all", "avsbench_ov_val_base"),
    *("avsbench_ov_val_novel", "avsbench_ov_test_all", "avsbench_ov_test_base"),
    *("avsbench_ov_test_novel", "avsbench_derived_train_base", "avsbench_derived_val_base"),
    *("avsbench_derived_test_all", "toy_ov_train_base", "toy_ov_val_base", "toy_ov_test_all"),
    *("avsbench_semantic_train", "avsbench_semantic_val", "avsbench_semantic_test"),
    *("toy_ov_test_base", "toy_ov_test_novel_silent", "toy_ov_test_novel_sounding"),
]


@pytest.fixture
def derived(prepared, tmp_path, monkeypatch):
    """A copy of the prepared data that a test may spoil."""
    folder = tmp_path / "datasets"
    shutil.copytree(prepared, folder)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(folder))
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_metadata_is_there_without_the_data(name):
    metadata = MetadataCatalog.get(name)
    names = list(TOY_NAMES if name.startswith("toy") else AVSBENCH_NAMES)
    assert metadata.names == names
    assert metadata.stuff_classes == ["background", *names]
    assert len(metadata.stuff_colors) == len(names) + 1
    assert tuple(metadata.stuff_colors[1]) == (128, 0, 0)
    assert sorted(metadata.base_ids + metadata.novel_ids) == list(range(1, len(names) + 1))
    assert metadata.evaluator_type == "ovavss"


def test_the_derived_split_has_a_name_of_its_own():
    published = MetadataCatalog.get("avsbench_ov_test_all").protocol_name
    derived = MetadataCatalog.get("avsbench_derived_test_all").protocol_name
    assert published == "AVSBench-OV"
    assert "not AVSBench-OV" in derived


@pytest.mark.parametrize(
    "name, hint",
    [
        ("avsbench_ov_train_base", "authors"),
        ("avsbench_ov_test_all", "python datasets/prepare_avsbench_ov.py"),
        ("avsbench_derived_test_all", "python datasets/prepare_avsbench_ov.py"),
        ("avsbench_semantic_test", "python datasets/prepare_avsbench_ov.py"),
        ("toy_ov_test_base", "python datasets/prepare_toy.py"),
    ],
)
def test_missing_data_says_where_it_comes_from(name, hint, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "nowhere"))
    for look in (check_dataset, DatasetCatalog.get):
        with pytest.raises(FileNotFoundError, match=hint) as error:
            look(name)
        assert ".json' is missing" in str(error.value) and "\n" not in str(error.value)


def test_an_unknown_name_is_one_line():
    with pytest.raises(ValueError, match="no data set 'toy_ov_trian'; known are"):
        check_dataset("toy_ov_trian")


def test_the_closed_set_has_no_novel_names():
    metadata = MetadataCatalog.get("avsbench_semantic_test")
    assert metadata.novel_ids == [] and len(metadata.base_ids) == 70
    assert "closed set" in metadata.protocol_name


def test_derived_records(derived):
    check_dataset("avsbench_derived_train_base")
    records = {r["video_id"]: r for r in DatasetCatalog.get("avsbench_derived_train_base")}
    half = records["half"]
    assert half["subset"] == "v1s" and half["names"] == ["dog"]
    assert (half["height"], half["width"]) == (24, 32)
    assert half["times"] == [0, 1, 2, 3, 4]
    assert all(os.path.isfile(f) for f in [*half["file_names"], half["audio_file"]])
    assert [f is not None for f in half["label_files"]] == [True] + 4 * [False]
    assert len(records["two"]["annotations"]) == 2
    assert "annotations" not in DatasetCatalog.get("avsbench_derived_test_all")[0]


def test_views_take_videos_of_one_kind(derived):
    def videos(name):
        return {r["video_id"] for r in DatasetCatalog.get(f"avsbench_derived_test_{name}")}

    assert videos("all") == {"test_base", "test_novel", "test_mixed"}
    assert videos("base") == {"test_base"}
    assert videos("novel") == {"test_novel"}


def test_views_of_the_toy_come_from_its_list(derived, monkeypatch):
    toy = derived / "toy"
    content = json.loads((derived / "AVSBench-derived/derived_test_all.json").read_text())
    content["categories"] = []
    (toy / "split_lists").mkdir(parents=True)
    (toy / "split_lists/derived_test_all.json").write_text(json.dumps(content))
    shutil.copytree(derived / "AVSBench-semantic", toy / "AVSBench-semantic")
    (toy / "views.json").write_text(json.dumps({"test_base": "base", "test_novel": "novel_silent"}))
    for view, video in (("base", "test_base"), ("novel_silent", "test_novel")):
        assert [r["video_id"] for r in DatasetCatalog.get(f"toy_ov_test_{view}")] == [video]
    with pytest.raises(ValueError, match="no video in it for 'toy_ov_test_novel_sounding'"):
        DatasetCatalog.get("toy_ov_test_novel_sounding")
    (toy / "views.json").write_text("[1")
    with pytest.raises(ValueError, match="views.json': broken JSON"):
        DatasetCatalog.get("toy_ov_test_base")


def authors_form(derived, split):
    """Our JSON without what the authors' lack, with their frame names."""
    content = json.loads((derived / f"AVSBench-derived/derived_{split}_base.json").read_text())
    for video in content["videos"]:
        for key in ("name", "names", "times", "audio_file", "label_files"):
            video.pop(key)
        video["file_names"] = [
            f"{f.split('/')[1]}/{os.path.basename(f)}" for f in video["file_names"]
        ]
    return content


def test_the_authors_files_give_the_same_records(derived):
    folder, root = derived / "AVSBench-openvoc", derived / "AVSBench-semantic"
    for split, subset_videos in (
        ("train", ("v1s/half", "v1m/two", "v2/long")),
        ("val", ["v1s/val_base"]),
    ):
        for place in subset_videos:
            images = folder / split / "JPEGImages" / place.split("/")[1]
            shutil.copytree(root / place / "frames", images)
    (folder / "avsbench_ov_train_base.json").write_text(json.dumps(authors_form(derived, "train")))
    (folder / "avsbench_ov_val_base_novel.json").write_text(
        json.dumps(authors_form(derived, "val"))
    )
    shutil.copytree(root / "v2/test_mixed/frames", folder / "test/JPEGImages/test_mixed")
    add_test_list(folder, root, AVSBENCH_NAMES)
    for theirs, ours in (
        ("ov_train_base", "derived_train_base"),
        ("ov_val_all", "derived_val_base"),
    ):
        for a, b in zip(
            DatasetCatalog.get(f"avsbench_{theirs}"),
            DatasetCatalog.get(f"avsbench_{ours}"),
            strict=True,
        ):
            assert all(os.path.isfile(f) for f in a.pop("file_names"))
            b.pop("file_names")
            assert a == b
    (record,) = DatasetCatalog.get("avsbench_ov_test_all")
    assert record["names"] == ["man", "harp"]
    assert all(os.path.isfile(f) for f in [*record["file_names"], *record["label_files"]])


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "broken JSON"),
        ("[]", "not a YouTube-VIS style split"),
        ("{}", "lacks 'annotations'"),
        ('{"annotations": [], "videos": [{"id": 1}]}', "lacks 'file_names'"),
        ('{"annotations": [{"id": 4, "category_id": 99}], "videos": []}', "has category 99"),
        ('{"categories": [{"id": 1, "name": "dog"}]}', "category 1 is 'dog'"),
        (
            '{"annotations": [], "videos": [{"id": 7, "label": "v2", "file_names": []}]}',
            "video 7 has 0 frames",
        ),
        ('{"annotations": [], "videos": []}', "no video in it"),
    ],
)
def test_a_broken_split_is_one_line(derived, content, message):
    path = derived / "AVSBench-derived/derived_train_base.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        DatasetCatalog.get("avsbench_derived_train_base")
    assert "derived_train_base.json" in str(error.value) and "\n" not in str(error.value)


def test_a_split_of_ones_own_registers(derived):
    split = Split(
        name="my_videos",
        json_file="AVSBench-derived/derived_val_base.json",
        image_root="AVSBench-semantic",
        sound_root="AVSBench-semantic",
        names=AVSBENCH_NAMES,
        base_ids=AVSBENCH_BASE_IDS,
        protocol_name="mine",
        origin="ask me",
    )
    register_split(split)
    try:
        assert [r["video_id"] for r in DatasetCatalog.get("my_videos")] == ["val_base"]
        assert load_split(pickle.loads(pickle.dumps(split)))
    finally:
        DatasetCatalog.remove("my_videos")
        MetadataCatalog.remove("my_videos")
