import json
import os
import pickle
import shutil

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

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


@pytest.mark.parametrize("name", NAMES)
def test_metadata_need_no_data(name):
    metadata = MetadataCatalog.get(name)
    names = list(TOY_NAMES if name.startswith("toy") else AVSBENCH_NAMES)
    assert metadata.names == names
    assert metadata.stuff_classes == ["background", *names]
    assert len(metadata.stuff_colors) == len(names) + 1
    assert tuple(metadata.stuff_colors[1]) == (128, 0, 0)
    assert sorted(metadata.base_ids + metadata.novel_ids) == list(range(1, len(names) + 1))
    assert metadata.evaluator_type == "ovavss"


def test_protocol_names_and_novel_ids_differ_by_split():
    published, derived, closed = (
        MetadataCatalog.get(f"avsbench_{name}")
        for name in ("ov_test_all", "derived_test_all", "semantic_test")
    )
    assert published.protocol_name == "AVSBench-OV"
    assert "not AVSBench-OV" in derived.protocol_name
    assert "closed set" in closed.protocol_name
    assert len(published.novel_ids) == len(derived.novel_ids) == 30 and closed.novel_ids == []


@pytest.mark.parametrize(
    "name, hint",
    [
        ("avsbench_ov_train_base", "published by the authors"),
        ("avsbench_ov_test_all", "python datasets/prepare_avsbench_ov.py"),
        ("avsbench_derived_test_all", "python datasets/prepare_avsbench_ov.py"),
        ("avsbench_semantic_test", "python datasets/prepare_avsbench_ov.py"),
        ("toy_ov_test_base", "python datasets/prepare_toy.py"),
    ],
)
def test_missing_data_give_a_hint(name, hint, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "nowhere"))
    for load in (check_dataset, DatasetCatalog.get):
        with pytest.raises(FileNotFoundError, match=hint) as error:
            load(name)
        assert ".json' is missing" in str(error.value) and "\n" not in str(error.value)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="no data set 'toy_ov_trian'; known are"):
        check_dataset("toy_ov_trian")


def test_derived_records(spoilable):
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


def test_views_select_videos_by_their_names(spoilable):
    def videos(name):
        return {r["video_id"] for r in DatasetCatalog.get(f"avsbench_derived_test_{name}")}

    assert videos("all") == {"test_base", "test_novel", "test_mixed"}
    assert videos("base") == {"test_base"}
    assert videos("novel") == {"test_novel"}


def test_views_of_the_toy_world_come_from_its_file(spoilable, monkeypatch):
    toy = spoilable / "toy"
    content = json.loads((spoilable / "AVSBench-derived/derived_test_all.json").read_text())
    content["categories"] = []
    (toy / "split_lists").mkdir(parents=True)
    (toy / "split_lists/derived_test_all.json").write_text(json.dumps(content))
    shutil.copytree(spoilable / "AVSBench-semantic", toy / "AVSBench-semantic")
    (toy / "views.json").write_text(json.dumps({"test_base": "base", "test_novel": "novel_silent"}))
    for view, video in (("base", "test_base"), ("novel_silent", "test_novel")):
        assert [r["video_id"] for r in DatasetCatalog.get(f"toy_ov_test_{view}")] == [video]
    with pytest.raises(ValueError, match="it has no video for 'toy_ov_test_novel_sounding'"):
        DatasetCatalog.get("toy_ov_test_novel_sounding")
    (toy / "views.json").write_text("[1")
    with pytest.raises(ValueError, match="views.json': broken JSON"):
        DatasetCatalog.get("toy_ov_test_base")


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
        ('{"annotations": [], "videos": []}', "it has no video"),
    ],
)
def test_a_broken_split_gives_one_line(spoilable, content, message):
    path = spoilable / "AVSBench-derived/derived_train_base.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        DatasetCatalog.get("avsbench_derived_train_base")
    assert "derived_train_base.json" in str(error.value) and "\n" not in str(error.value)


def test_a_custom_split_can_be_registered(spoilable):
    split = Split(
        name="my_videos",
        json_file="AVSBench-derived/derived_val_base.json",
        image_root="AVSBench-semantic",
        audio_root="AVSBench-semantic",
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
