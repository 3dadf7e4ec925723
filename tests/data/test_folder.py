"""A folder of the user's videos: registered in three lines, for training and evaluation."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog, build_detection_test_loader
from detectron2.evaluation import inference_on_dataset
from PIL import Image

from ovavss_d2.config import add_ovavss_config
from ovavss_d2.data.catalog import check_dataset, register_folder
from ovavss_d2.data.label_maps import read_labels
from ovavss_d2.data.mapper import AVSClipMapper
from ovavss_d2.data.masks import encode_mask, labels_from_annotations
from ovavss_d2.evaluation.evaluator import AVSSEvaluator
from ovavss_d2.evaluation.saved_predictions import score_saved
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


class Oracle(torch.nn.Module):
    """Predicts given label maps, by the number of the frames."""

    def __init__(self, maps):
        super().__init__()
        self.maps = maps

    def forward(self, videos):
        return [
            {"label_map": torch.from_numpy(self.maps[len(video["times"])]), "names": NAMES}
            for video in videos
        ]


def youtube_vis(folder, truths):
    """Write a plain list of videos, with truths (L, 224, 224) by folder, and COCO's habits."""
    videos, annotations = [], []
    for number, (name, truth) in enumerate(truths.items(), start=1):
        (folder / name / "frames").mkdir(parents=True)
        files = [f"{name}/frames/{i}.jpg" for i in range(len(truth))]
        for file in files:
            Image.new("RGB", (224, 224)).save(folder / file)
        videos.append(
            {"id": 10 * number, "length": len(truth), "height": 224, "width": 224}
            | {"file_names": files}
        )
        for category, label in ((3, 2), (8, 1)):
            masks = [encode_mask(ids == label) or [[], None][i % 2] for i, ids in enumerate(truth)]
            annotations.append(
                {"id": 5, "video_id": str(10 * number), "category_id": category, "iscrowd": 0}
                | {"segmentations": masks, "bboxes": [], "areas": []}
            )
    categories = [{"id": 3, "name": "violin"}, {"id": 8, "name": "dog"}, {"id": 9, "name": "cat"}]
    content = {"videos": videos, "annotations": annotations, "categories": categories}
    (folder / "list.json").write_text(json.dumps(content))


def test_a_plain_youtube_vis_list_is_evaluated_by_the_stock_loader(tmp_path, catalog):
    random = np.random.default_rng(0)
    truths = {name: random.integers(0, 3, (n, 224, 224)) for name, n in (("a", 2), ("b", 3))}
    truths["b"][1] = 0
    youtube_vis(tmp_path / "mine", truths)
    register_folder("mine", tmp_path / "mine", NAMES, base_ids=(1,), json_file="list.json")
    maps = {len(t): np.where(random.random(t.shape) < 0.6, t, 0) for t in truths.values()}
    cfg = get_cfg()
    add_ovavss_config(cfg)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.INPUT.MIN_SIZE_TEST = 32
    mapper = AVSClipMapper(cfg, is_train=False)
    loader = build_detection_test_loader(cfg, "mine", mapper=mapper)
    evaluator = AVSSEvaluator("mine", output_dir=tmp_path / "out", save_predictions=True)
    figures = inference_on_dataset(Oracle(maps), loader, evaluator)["avsbench_ov"]
    true = np.concatenate(list(truths.values()))
    predicted = np.concatenate([maps[2], maps[3]])
    iou = [
        100 * ((true == k) & (predicted == k)).sum() / ((true == k) | (predicted == k)).sum()
        for k in range(3)
    ]
    assert figures["mIoU"] == pytest.approx(np.mean(iou))
    assert (figures["base"], figures["novel"]) == pytest.approx((iou[1], iou[2]))
    assert score_saved("mine", tmp_path / "out/predictions", None)["avsbench_ov"] == figures


@pytest.fixture
def draw_label(folder):
    """Draws ids (24, 32) as frame 0's label image of video a in a form; removes all others."""

    def draw(ids, form):
        for file in folder.glob("*/labels_rgb/*"):
            file.unlink()
        image = Image.fromarray(ids.astype(np.uint8))
        if form == "I;16":
            image = Image.fromarray(ids.astype(np.uint16))
        elif form == "P gray":
            image.putpalette(np.repeat(np.arange(256), 3).astype(np.uint8).tobytes())
        elif form == "P palette":
            image.putpalette(voc_palette(256).tobytes())
        elif form == "P own":
            colors = np.random.default_rng(0).integers(1, 60, (256, 3), np.uint8)
            image.putpalette(colors.tobytes())
        elif form == "P reordered":
            image = Image.fromarray(2 - ids.astype(np.uint8))
            image.putpalette(voc_palette(3)[::-1].tobytes())
        elif form == "RGB":
            image = Image.fromarray(voc_palette(256)[ids])
        image.save(folder / "a/labels_rgb/0.png")

    return draw


@pytest.mark.parametrize(
    "form", ["L", "I;16", "P gray", "P palette", "P own", "P reordered", "RGB"]
)
def test_label_images_of_all_forms_are_equal(folder, catalog, draw_label, form):
    draw_label(labels_of(1), form)
    register_folder("mine", folder, NAMES, training=True)
    (record,) = catalog.get("mine")
    assert record["names"] == list(NAMES)
    drawn = labels_from_annotations(record["annotations"], 0, (24, 32))
    assert (drawn == labels_of(1)).all()
    assert (read_labels(record["label_files"][0], 3)[0] == labels_of(1)).all()


@pytest.mark.parametrize("form", ["L", "I;16", "P gray", "P palette"])
def test_value_255_is_ignored_and_other_values_are_errors(folder, catalog, draw_label, form):
    ids = labels_of(1)
    ids[:2] = 255
    draw_label(ids, form)
    register_folder("mine", folder, NAMES)
    records = catalog.get("mine")
    assert records[0]["names"] == list(NAMES)
    evaluator = AVSSEvaluator("mine")
    wrong = np.where(ids == 255, 1, ids).astype(np.int32)
    for record in records:
        maps = torch.from_numpy(np.stack([wrong] * 12))
        evaluator.process([record], [{"label_map": maps, "names": NAMES}])
    resized = evaluator.evaluate()["avsbench_ov"]["mIoU"]
    assert resized > 90  # 81 if the ignored rows counted as background
    draw_label(np.where(ids == 255, 77, ids), form)
    with pytest.raises(ValueError, match="64 pixels are not in the first 3 colors.* 0 to 2 or 255"):
        catalog.get("mine")


def test_files_of_other_programs_are_ignored(folder, catalog):
    register_folder("mine", folder, NAMES)
    expected = catalog.get("mine")
    junk = ["a/frames/._0.jpg", "a/frames/.hidden.png", "a/labels_rgb/._0.png", "a/audio.txt"]
    junk += ["b/audio.json", "b/._audio.wav", "a/frames/Thumbs.db", ".trash/frames/0.jpg"]
    for name in junk:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0\5\x16\7")
    os.mkfifo(folder / "a/frames/99.jpg")
    os.mkfifo(folder / "b/audio.wav")
    assert catalog.get("mine") == expected


def test_audio_may_be_of_any_format_and_wav_is_preferred(folder, catalog):
    register_folder("mine", folder, NAMES)
    (folder / "a/audio.flac").touch()
    (folder / "b/audio.MP4").touch()
    first, second = catalog.get("mine")
    assert first["audio_file"].endswith("audio.wav") and second["audio_file"].endswith("audio.MP4")


def test_frames_are_sorted_by_the_numbers_in_their_names(folder, catalog):
    for file in [*folder.glob("a/*/*.jpg"), *folder.glob("a/*/*.png")]:
        file.rename(file.with_stem(f"frame_{file.stem}"))
    register_folder("mine", folder, NAMES)
    record = catalog.get("mine")[0]
    assert [Path(f).stem for f in record["file_names"]] == [f"frame_{i}" for i in range(12)]
    assert record["label_files"][3] is None and record["label_files"][10] is not None
    Image.new("RGB", (32, 24)).save(folder / "a/frames/frame_2.png")
    with pytest.raises(ValueError, match="frame_2.jpg and frame_2.png are one frame"):
        catalog.get("mine")


@pytest.mark.parametrize(
    "names", ["dog", [], [""], ["dog", " "], ["dog", "dog"], ["dog", "Dog"], ["dog", 3]]
    + [["café", "cafe\u0301"], ["car|automobile"], [f"name {i}" for i in range(255)]]
)  # fmt: skip
def test_names_must_be_distinct(folder, catalog, names):
    with pytest.raises(ValueError, match="the data set 'mine' has") as error:
        register_folder("mine", folder, names)
    assert "\n" not in str(error.value) and "mine" not in catalog.list()


@pytest.mark.parametrize("rate", [0, -1, 1e-9, float("nan"), float("inf"), "2"])
def test_the_frame_rate_is_checked(folder, catalog, rate):
    with pytest.raises(
        ValueError, match="frames_per_second is .*, expected a number from 0.001 to 1000"
    ):
        register_folder("mine", folder, NAMES, frames_per_second=rate)


def test_mistakes_give_one_line(folder, catalog, tmp_path):
    register_folder("mine", folder, NAMES)
    with pytest.raises(ValueError, match="'mine' is already registered"):
        register_folder("mine", folder, NAMES)
    with pytest.raises(ValueError, match="for 2 names, expected distinct integers from 1"):
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
