"""The evaluator: compares truth and predictions, merges processes, writes reports."""

import json
import pickle

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator
from detectron2.utils import comm
from detectron2.utils.visualizer import Visualizer
from PIL import Image
from pycocotools import mask as rle

from ovavss_d2.data.catalog import register_folder
from ovavss_d2.data.label_maps import write_label_map
from ovavss_d2.evaluation.best_worst import draw_best_worst
from ovavss_d2.evaluation.charts import confused_pairs
from ovavss_d2.evaluation.evaluator import (
    AVSSEvaluator,
    ids_of_labels,
    per_frame,
    resize_prediction,
    resize_truth,
)
from ovavss_d2.evaluation.truth import true_frames
from ovavss_d2.vocabulary import voc_palette

NAMES = ("cat", "dog", "bird", "horn")
DATASET = "evaluator_test"


@pytest.fixture(autouse=True)
def dataset(catalog, tmp_path):
    register_folder(DATASET, tmp_path, NAMES, base_ids=(1, 2))


def make_video(folder, ids, names=NAMES, subset="v1m"):
    palette = voc_palette(1 + len(NAMES))
    files = [str(folder / f"{i}.png") for i in range(len(ids))]
    for file, frame in zip(files, ids, strict=True):
        write_label_map(file, frame, palette)
    return {
        "video_id": folder.name,
        "subset": subset,
        "names": list(names),
        "label_files": files,
        "file_names": [f"{folder.name}/{i}.jpg" for i in range(len(ids))],
        "height": ids.shape[1],
        "width": ids.shape[2],
    }


def output_of(label_map, names=NAMES):
    label_map = torch.as_tensor(label_map, dtype=torch.int32)
    return {"label_map": label_map, "names": names, "segments": []}


@pytest.fixture
def truth():
    ids = np.zeros((2, 224, 224), np.int64)
    ids[:, :112, :112], ids[:, :112, 112:], ids[1, 112:, :112] = 1, 3, 4
    return ids


@pytest.fixture
def video(tmp_path, truth):
    return make_video(tmp_path / "a", truth)


def evaluate(videos, outputs, **options):
    evaluator = AVSSEvaluator(DATASET, **options)
    for pair in zip(videos, outputs, strict=True):
        evaluator.process([pair[0]], [pair[1]])
    return evaluator.evaluate()


def test_perfect_predictions_score_100(video, truth):
    results = evaluate([video], [output_of(truth)])
    assert list(results) == ["avsbench_ov", "avss", "avss_released"]
    assert results["avsbench_ov"] == {"mIoU": 100, "base": 100, "novel": 100, "harmonic": 100}
    assert results["avss"] == {"mIoU": 80, "F": 80}  # one of five classes does not occur


def test_names_and_synonyms_map_to_the_data_sets_and_others_are_background(video, truth):
    translated = np.choose(truth, [0, 3, 0, 4, 2])
    translated[truth == 0] = 1  # a piano, which the data set does not have
    vocabulary = ("piano", "Horn|klaxon", "kitten|CAT", "bird")
    results = evaluate([video], [output_of(translated, vocabulary)])
    assert results["avsbench_ov"]["mIoU"] == 100


def test_a_data_sets_synonyms_map_to_its_name():
    names = ("cat|kitten", "dog")
    assert ids_of_labels(("Kitten", "dog", "bird"), names).tolist() == [0, 1, 2, 0]
    assert ids_of_labels(names, names).tolist() == [0, 1, 2]


def test_only_avsbench_ov_ignores_truth_outside_the_videos_names(video, truth):
    video["names"] = ["cat", "bird"]
    without_horn = evaluate([video], [output_of(np.where(truth == 4, 0, truth))])
    assert without_horn["avsbench_ov"]["mIoU"] == 100
    assert without_horn["avss"]["mIoU"] < 80
    assert evaluate([video], [output_of(truth)])["avss"]["mIoU"] == 80


def test_empty_annotations_are_silence(video, truth):
    silent = {**video, "video_id": "b", "label_files": None, "annotations": []}
    outputs = [output_of(truth), output_of(np.zeros_like(truth))]
    assert evaluate([video, silent], outputs)["avsbench_ov"]["mIoU"] == 100
    outputs[1] = output_of(np.where(truth == 0, 0, 2))
    assert evaluate([video, silent], outputs)["avsbench_ov"]["base"] == 50


def test_frames_without_truth_are_skipped(video, truth):
    video["label_files"][1] = None
    results = evaluate([video], [output_of(np.stack([truth[0], np.ones_like(truth[0])]))])
    assert results["avsbench_ov"]["mIoU"] == 100
    with pytest.raises(ValueError, match="no frame of 'evaluator_test' has ground truth"):
        evaluate([{**video, "label_files": None}], [output_of(truth)])


def test_best_and_worst_videos_do_not_depend_on_the_order(video, truth):
    names = [f"v{i:02}" for i in range(15)]
    kept = []
    for order in (1, -1):
        evaluator = AVSSEvaluator(DATASET)
        for i in range(15)[::order]:
            prediction = truth.copy()
            prediction[:, : 8 * i] = 0
            evaluator.process([{**video, "video_id": names[i]}], [output_of(prediction)])
        ends = evaluator._best_worst
        kept.append([[case.video_id for case in end] for end in (ends.best, ends.worst)])
    assert kept[0] == kept[1] == [names[:6], names[:8:-1]]
    page = draw_best_worst(ends, MetadataCatalog.get(DATASET))
    assert page.shape[2] == 3 and page.shape[0] > 6 * 2 * 96


def test_memory_is_constant(video, truth):
    evaluator, sizes = AVSSEvaluator(DATASET), []
    for i in range(60):
        evaluator.process([{**video, "video_id": f"{i:03}"}], [output_of(truth)])
        if i in (19, 59):
            sizes.append(len(pickle.dumps((evaluator._by_subset, evaluator._best_worst))))
    assert sizes[1] < sizes[0] + 2000


def test_pairs_are_ranked_by_pixels():
    matrix = np.array([[90, 5, 0], [7, 50, 3], [0, 9, 40]])
    assert confused_pairs(matrix, background=False) == [(2, 1, 9), (1, 2, 3)]
    assert confused_pairs(matrix, background=True) == [(1, 0, 7), (0, 1, 5)]


def test_stock_visualizer_draws_the_output(truth):
    metadata = MetadataCatalog.get(DATASET)
    frame = np.full((224, 224, 3), 90, np.uint8)
    drawn = Visualizer(frame, metadata).draw_sem_seg(torch.from_numpy(truth[1]), alpha=1.0)
    picture = drawn.get_image()
    assert picture.shape == frame.shape
    for row, column in ((50, 50), (50, 150), (150, 50)):
        color = metadata.stuff_colors[truth[1, row, column]]
        np.testing.assert_allclose(picture[row - 9, column - 30], color, atol=12)


def test_annotations_serve_as_truth(truth):
    def encoded(frame, category):
        return rle.encode(np.asfortranarray(frame == category, np.uint8))

    polygon = [0, 0, 112, 0, 112, 112, 0, 112]  # x, y of the cat
    annotations = [
        {"category_id": 1, "segmentations": [[polygon], encoded(truth[1], 1)]},
        {"category_id": 3, "segmentations": [encoded(frame, 3) for frame in truth]},
        {"category_id": 4, "segmentations": [None, encoded(truth[1], 4)]},
    ]
    video = {"names": None, "annotations": annotations, "height": 224, "width": 224}
    video["file_names"] = ["0.jpg", "1.jpg"]
    frames = list(true_frames(video, MetadataCatalog.get(DATASET)))
    assert [i for i, _ in frames] == [0, 1]
    np.testing.assert_array_equal([ids for _, ids in frames], truth)


def test_resizing_follows_torch_and_pillow():
    columns = np.broadcast_to(np.arange(448) % 256, (448, 448))
    predicted = resize_prediction(torch.as_tensor(columns.copy())[None])[0]
    np.testing.assert_array_equal(predicted[0], columns[0, ::2])  # floor
    np.testing.assert_array_equal(resize_truth(columns)[0], columns[0, 1::2])  # center


def test_processes_write_the_same_bytes_as_one(tmp_path, truth, monkeypatch):
    rng = np.random.default_rng(0)
    videos = [
        make_video(tmp_path / f"{i}", truth, subset=s) for i, s in enumerate(["v1m", "v2", "v2"])
    ]
    outputs = [output_of(np.where(rng.random(truth.shape) < 0.7, truth, i)) for i in range(3)]
    whole = evaluate(videos, outputs, output_dir=tmp_path / "one")
    parts = [AVSSEvaluator(DATASET, output_dir=tmp_path / "two") for _ in range(2)]
    parts[0].process(videos[2:], outputs[2:])
    parts[1].process(videos[:2], outputs[:2])
    other = parts[1]._by_subset, parts[1]._best_worst
    monkeypatch.setattr(comm, "gather", lambda data, dst=0: [data, other])
    assert parts[0].evaluate() == whole
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("one", "two"))
    assert len(one) == 7 and one == two
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert parts[1].evaluate() is None


def test_results_charts_and_predictions_are_written(tmp_path, truth):
    without_horn = np.where(truth == 4, 0, truth)
    videos = [make_video(tmp_path / "a", without_horn), make_video(tmp_path / "b", without_horn)]
    out = tmp_path / "out"
    evaluate(videos, [output_of(without_horn)] * 2, output_dir=out, save_predictions=True)

    results = json.loads((out / "results.json").read_text())
    assert results["dataset"] == DATASET and results["protocol_name"] == DATASET
    assert (results["videos"], results["frames"]) == (2, 4)
    assert results["avsbench_ov"]["novel"] == 100
    rows = {row["name"]: row for row in results["per_class"]}
    figures = {"iou": 100, "avss_iou": 100, "f": 100}
    assert rows["cat"] == {"id": 1, "name": "cat", "group": "base", "frames": 4} | figures
    assert rows["horn"]["iou"] is None and rows["horn"]["frames"] == 0
    assert results["per_subset"]["v1m"]["videos"] == 2

    with Image.open(out / "predictions" / "b" / "1.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), without_horn[1])
        painted = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(painted, voc_palette(5)[without_horn[1]])
    with Image.open(out / "per_class.png") as chart:
        assert chart.width > 300
    assert not list(out.rglob("*.partial*"))


def test_silent_predictions_score_zero_and_tables_are_logged(video, truth, caplog):
    caplog.set_level("INFO", logger="ovavss_d2")
    results = evaluate([video], [output_of(np.zeros_like(truth))])
    assert results["avsbench_ov"]["harmonic"] == 0
    assert results["avss_released"]["mIoU"] == 0
    assert f"| {DATASET}" in caplog.text and "| horn" in caplog.text


def test_stock_evaluator_takes_the_output_frame_by_frame(video, truth):
    output = output_of(np.choose(truth, [0, 2, 0, 1, 3]), ("bird", "cat", "horn"))
    by_file = dict(zip(video["file_names"], truth, strict=True))
    records = [{"file_name": name, "sem_seg_file_name": name} for name in by_file]
    DatasetCatalog.pop(DATASET)
    DatasetCatalog.register(DATASET, lambda: records)
    stock = SemSegEvaluator(
        DATASET,
        distributed=False,
        sem_seg_loading_fn=lambda name, dtype: by_file[name].astype(dtype),
    )
    stock.reset()
    for image, prediction in per_frame(video, output, NAMES):
        stock.process([image], [prediction])
    assert stock.evaluate()["sem_seg"]["mIoU"] == pytest.approx(100)
