import os
import pickle
import re
from dataclasses import replace

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from ovavss_d2.data.catalog import Split, check_dataset, load_split, register_split
from ovavss_d2.vocabulary import AVSBENCH_BASE_IDS, AVSBENCH_NAMES, TOY_NAMES
from tests.helpers.paths import REPOSITORY


def test_the_data_sets_of_the_readme_have_metadata_without_their_files():
    table = (REPOSITORY / "datasets/README.md").read_text().split("## ")[0]
    documented = set(re.findall(r"`((?:toy_ov|avsbench)_\w+)`", table))
    registered = {n for n in DatasetCatalog.list() if n.startswith(("toy_ov", "avsbench"))}
    assert documented == registered
    for name in registered:
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


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "broken JSON"),
        ("[" * 100_000, "broken JSON"),
        ("[]", "the file: found .*, expected an object"),
        ("{}", "the file: it lacks 'videos'"),
        ('{"annotations": [], "videos": [{"id": 1}]}', r"videos\[0\]: it lacks 'file_names'"),
        ('{"annotations": [{"category_id": 99}], "videos": []}', "category_id: 99 is not the id"),
        ('{"annotations": [3], "videos": []}', r"annotations\[0\]: found 3, expected an object"),
        (
            '{"annotations": [], "videos": [{"id": 7, "label": "v2", "file_names": []}]}',
            r"videos\[0\]: it has 0 frames",
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


def test_custom_splits_and_views_can_be_registered(spoilable, catalog):
    split = Split(
        name="my_videos",
        json_file="AVSBench-derived/derived_test_all.json",
        image_root="AVSBench-semantic",
        audio_root="AVSBench-semantic",
        names=AVSBENCH_NAMES,
        base_ids=AVSBENCH_BASE_IDS,
        protocol_name="mine",
        origin="ask me",
        view="loud",
        views_file="views.json",
    )
    (spoilable / "views.json").write_text('{"test_base": "loud", "test_novel": "quiet"}')
    register_split(split)
    assert [r["video_id"] for r in catalog.get("my_videos")] == ["test_base"]
    assert load_split(pickle.loads(pickle.dumps(split)))
    with pytest.raises(ValueError, match="it has no video for 'my_videos'"):
        load_split(replace(split, view="silent"))
    (spoilable / "views.json").write_text("[1")
    with pytest.raises(ValueError, match="views.json': broken JSON.*ask me"):
        catalog.get("my_videos")
    (spoilable / "views.json").write_text("[1]")
    with pytest.raises(ValueError, match="views.json': expected an object"):
        catalog.get("my_videos")
