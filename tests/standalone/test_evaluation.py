import json
import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import (
    DatasetEvaluator,
    DatasetEvaluators,
    SemSegEvaluator,
    inference_on_dataset,
    print_csv_format,
    verify_results,
)
from detectron2.evaluation.testing import flatten_results_dict
from PIL import Image
from torch import nn

from tests.helpers.log_lines import recorded_lines
from tests.helpers.paths import FIXTURES
from tests.helpers.runtime import standalone_only

RECORDED = FIXTURES / "detectron2" / "semantic_evaluation.json"


CLASSES = ["background", "left", "right", "absent", "imagined"]
IGNORED = 255


def label_maps():
    """Pairs (ground truth, prediction) (H, W): "absent" in neither, "imagined" only predicted."""
    pairs = []
    for index, (height, width) in enumerate([(48, 64), (60, 33), (25, 110)]):
        y, x = np.mgrid[:height, :width]
        truth = ((x // 11 + y // 7 + index) % 3).astype(np.uint8)
        predicted = np.roll(truth, (1 + index, 2), axis=(0, 1))
        predicted[(3 * x + 5 * y) % 17 == 0] = 4
        truth[(x + y) % 13 == 0] = IGNORED
        pairs.append((truth, predicted))
    return pairs


def evaluate_label_maps(folder, name):
    """Write the ground truth to `folder`, register it as `name` and evaluate the predictions."""
    pairs = label_maps()
    records = []
    for index, (truth, _) in enumerate(pairs):
        Image.fromarray(truth).save(folder / f"{index}.png")
        label_file = str(folder / f"{index}.png")
        records.append({"file_name": f"{index}.jpg", "sem_seg_file_name": label_file})
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).set(stuff_classes=CLASSES, ignore_label=IGNORED)
    evaluator = SemSegEvaluator(name, distributed=False, output_dir=str(folder / "out"))
    evaluator.reset()
    for record, (_, predicted) in zip(records, pairs, strict=True):
        labels = torch.as_tensor(predicted).long()
        scores = torch.nn.functional.one_hot(labels, len(CLASSES)).permute(2, 0, 1).float()
        evaluator.process([record], [{"sem_seg": scores}])
    results = evaluator.evaluate()
    return {key: float(value) for key, value in results["sem_seg"].items()}


class Collector(DatasetEvaluator):
    """Stores inputs and outputs; its result has one task."""

    def __init__(self, task: str, result: dict | None = None):
        self.task, self.result = task, result

    def reset(self):
        self.pairs = []

    def process(self, inputs, outputs):
        self.pairs.append((inputs, outputs))

    def evaluate(self):
        return self.result if self.result is None else {self.task: self.result}


class Doubler(nn.Module):
    def forward(self, batch):
        self.was_training = self.training
        self.had_gradients = torch.is_grad_enabled()
        return [2 * value for value in batch]


def test_semantic_segmentation_metrics_equal_those_of_detectron2(tmp_path):
    recorded = json.loads(RECORDED.read_text())["figures"]
    figures = evaluate_label_maps(tmp_path, "semantic_figures")
    assert list(figures) == list(recorded)
    for name, expected in recorded.items():
        if expected is None:
            assert math.isnan(figures[name]), name
        else:
            assert figures[name] == pytest.approx(expected, abs=1e-9), name


def test_semantic_predictions_are_written_in_coco_form(tmp_path):
    evaluate_label_maps(tmp_path, "coco_form")
    entries = json.loads((tmp_path / "out" / "sem_seg_predictions.json").read_text())
    assert {entry["file_name"] for entry in entries} == {"0.jpg", "1.jpg", "2.jpg"}
    assert {entry["category_id"] for entry in entries} == {0, 1, 2, 4}
    assert entries[0]["segmentation"]["size"] == [48, 64]


@pytest.mark.parametrize("training", [True, False])
def test_inference_runs_in_eval_mode_without_gradients_and_restores_the_mode(training):
    model, evaluator = Doubler().train(training), Collector("task", {"x": 1})
    results = inference_on_dataset(model, [[1], [2, 3]], evaluator)
    assert not model.was_training and not model.had_gradients
    assert model.training is training
    assert evaluator.pairs == [([1], [2]), ([2, 3], [4, 6])]
    assert results == {"task": {"x": 1}}


def test_inference_combines_evaluators_and_accepts_none():
    model = Doubler()
    evaluators = [Collector("a", {"x": 1}), Collector("b"), Collector("c", {"y": 2})]
    assert inference_on_dataset(model, [[1]], evaluators) == {"a": {"x": 1}, "c": {"y": 2}}
    assert inference_on_dataset(model, [[1]], Collector("a")) == {}
    assert inference_on_dataset(model, [[1]], None) == {}


def test_inference_calls_back_at_each_stage():
    calls = []
    names = ("on_start", "before_inference", "after_inference", "on_end")
    callbacks = {name: lambda name=name: calls.append(name) for name in names}
    inference_on_dataset(Doubler(), [[1], [2]], None, callbacks)
    assert calls == [names[0], *names[1:3], *names[1:3], names[3]]


def test_inference_logs_its_speed():
    with recorded_lines("detectron2.evaluation") as logged:
        inference_on_dataset(Doubler(), [[1]] * 12, None)
    assert logged[0] == "Start inference on 12 batches"
    assert any(line.startswith("Total inference time: 0:00:0") for line in logged)
    assert any("s / iter per device, on 1 devices)" in line for line in logged)


def test_two_evaluators_with_the_same_task_raise():
    evaluators = DatasetEvaluators([Collector("a", {"x": 1}), Collector("a", {"x": 2})])
    with pytest.raises(AssertionError, match="a"):
        evaluators.evaluate()


def test_csv_lines_do_not_contain_metrics_of_single_classes():
    results = OrderedDict(sem_seg={"mIoU": 12.34567, "IoU-cat": 1.0, "fwIoU": 3}, n=5.0)
    with recorded_lines("detectron2.evaluation") as lines:
        print_csv_format(results)
    assert lines == [
        "copypaste: Task: sem_seg",
        "copypaste: mIoU,fwIoU",
        "copypaste: 12.3457,3.0000",
        "copypaste: n=5.0",
    ]


def test_results_outside_the_tolerance_exit(cfg):
    assert verify_results(cfg, {})
    cfg.TEST.EXPECTED_RESULTS = [["bbox", "AP", 38.5, 0.2]]
    assert verify_results(cfg, {"bbox": {"AP": 38.6}})
    for wrong in (38.8, float("nan")):
        with pytest.raises(SystemExit) as stop:
            verify_results(cfg, {"bbox": {"AP": wrong}})
        assert stop.value.code == 1


def test_nested_results_are_flattened_with_slashes():
    nested = {"a": {"b": {"c": 1}, "d": 2}, "e": 3}
    assert flatten_results_dict(nested) == {"a/b/c": 1, "a/d": 2, "e": 3}


@standalone_only
def test_standalone_error_for_unknown_labels_has_the_file(tmp_path, monkeypatch):
    pairs = [(np.full((4, 4), 9, np.uint8), np.zeros((4, 4), np.uint8))]
    monkeypatch.setitem(globals(), "label_maps", lambda: pairs)
    with pytest.raises(ValueError, match=r"0\.png has labels 9 to 9"):
        evaluate_label_maps(tmp_path, "unknown_labels")
