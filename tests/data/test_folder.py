"""A folder of the user's videos: registered in three lines, for training and evaluation."""

import json

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from PIL import Image

from ovavss_d2.config import add_ovavss_config
from ovavss_d2.data.catalog import check_dataset, register_folder
from ovavss_d2.data.mapper import AVSClipMapper
from ovavss_d2.evaluation.evaluator import AVSSEvaluator
from ovavss_d2.vocabulary import voc_palette

NAMES = ("dog", "violin")


def labels_of(i):
    ids = np.zeros((24, 32), np.uint8)
    ids[4:12, 3 + i : 12 + i], ids[14:20, 20:28] = 1, 2 * (i % 2)
    return ids


@pytest.fixture
def folder(tmp_path, wav):
    for video in ("b", "a"):
        for part in ("frames", "labels_rgb"):
            (tmp_path / "mine" / video / part).mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (32, 24), (9 * i,) * 3).save(tmp_path / f"mine/{video}/frames/{i}.jpg")
            if i != 3:
                label = Image.fromarray(voc_palette(3)[labels_of(i)])
                label.save(tmp_path / f"mine/{video}/labels_rgb/{i}.png")
    wav(tmp_path / "mine/a/audio.wav", np.ones(96000))
    return tmp_path / "mine"


def test_label_images_name_the_sounding_objects(folder, catalog):
    register_folder("mine", folder, NAMES, frames_per_second=2)
    check_dataset("mine")
    first, second = catalog.get("mine")
    assert (first["video_id"], second["video_id"]) == ("a", "b")
    assert first["times"][:3] == [0, 0.5, 1] and len(first["times"]) == 12
    assert first["file_names"][10].endswith("10.jpg")  # after 9
    assert first["names"] == list(NAMES)
    assert first["label_files"][3] is None and first["label_files"][4] is not None
    assert first["audio_file"].endswith("audio.wav") and second["audio_file"] is None
    metadata = MetadataCatalog.get("mine")
    assert metadata.base_ids == [1, 2] and metadata.stuff_colors[2] == (0, 128, 0)


def test_perfect_predictions_score_100(folder, catalog):
    register_folder("mine", folder, NAMES, base_ids=(1,))
    evaluator = AVSSEvaluator("mine")
    for record in catalog.get("mine"):
        maps = np.stack([labels_of(i) for i in range(12)]).astype(np.int32)
        evaluator.process([record], [{"label_map": torch.from_numpy(maps), "names": NAMES}])
    # resizing to 224 x 224 differs at the outlines
    assert evaluator.evaluate()["avsbench_ov"]["harmonic"] > 90


def test_training_clips_have_the_labeled_objects(folder, catalog):
    register_folder("mine", folder, NAMES, training=True)
    cfg = get_cfg()
    add_ovavss_config(cfg)
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (24,), "none"
    cfg.INPUT.SAMPLING_FRAME_NUM = 12
    clip = AVSClipMapper(cfg, is_train=True)(catalog.get("mine")[0])
    assert clip["labeled"].tolist() == [i != 3 for i in range(12)]
    for i, frame in enumerate(clip["instances"]):
        assert frame.gt_classes.tolist() == [0, 1]
        for k, mask in enumerate(frame.gt_masks.tensor, start=1):
            assert (mask.numpy() == (labels_of(i) == k)).all() or i == 3
    ids = [a["id"] for record in catalog.get("mine") for a in record["annotations"]]
    assert ids == [1, 2, 3, 4]


def test_annotations_of_a_list_are_the_ground_truth(folder, catalog):
    box = [3, 4, 12, 4, 12, 12, 3, 12]
    content = {
        "videos": [
            {"id": 1, "name": "a", "label": "all", "length": 1, "height": 24, "width": 32,
             "file_names": ["a/frames/0.jpg"], "audio_file": "a/audio.wav"}
        ],
        "annotations": [{"id": 1, "video_id": 1, "category_id": 1, "segmentations": [[box]]}],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "violin"}],
    }  # fmt: skip
    (folder / "list.json").write_text(json.dumps(content))
    register_folder("mine", folder, NAMES, json_file="list.json")
    (record,) = catalog.get("mine")
    assert record["label_files"] is None and record["names"] == ["dog"]
    evaluator = AVSSEvaluator("mine")
    ids = np.zeros((1, 24, 32), np.int32)
    ids[0, 4:12, 3:12] = 1
    evaluator.process([record], [{"label_map": torch.from_numpy(ids), "names": NAMES}])
    assert evaluator.evaluate()["avsbench_ov"]["base"] > 90


def test_mistakes_give_one_line(folder, catalog, tmp_path):
    register_folder("mine", folder, NAMES)
    with pytest.raises(ValueError, match="'mine' is already registered"):
        register_folder("mine", folder, NAMES)
    with pytest.raises(ValueError, match="for 2 names, expected 1 to 2"):
        register_folder("other", folder, NAMES, base_ids=(3,))
    Image.new("RGB", (32, 24), (1, 2, 3)).save(folder / "a/labels_rgb/0.png")
    with pytest.raises(ValueError, match="768 pixels are not in the first 3 colors"):
        catalog.get("mine")
    register_folder("nowhere", tmp_path / "nowhere", NAMES)
    with pytest.raises(FileNotFoundError, match="nowhere' is missing: it was registered as"):
        check_dataset("nowhere")
    (tmp_path / "empty").mkdir()
    register_folder("empty", tmp_path / "empty", NAMES)
    with pytest.raises(ValueError, match="no videos found, expected folders"):
        catalog.get("empty")
