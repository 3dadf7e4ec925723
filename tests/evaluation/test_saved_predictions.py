"""Saved label maps give the same reports as their model, in any number of processes."""

import importlib
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from ovavss_d2.data.catalog import DatasetCatalog
from ovavss_d2.data.split_lists import closed_lists, write_lists
from ovavss_d2.engine.launch import launch
from ovavss_d2.evaluation.evaluator import AVSSEvaluator
from ovavss_d2.evaluation.saved_predictions import read_label_map, score_saved
from ovavss_d2.vocabulary import AVSBENCH_NAMES, voc_palette
from tests.helpers.avsbench_tree import prepare
from tests.helpers.tiny_world import ROOT

DATASET = "avsbench_derived_test_all"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Read-only data sets."""
    with pytest.MonkeyPatch.context() as patch:
        folder = prepare(tmp_path_factory.mktemp("datasets"))
        patch.setenv("DETECTRON2_DATASETS", str(folder))
        yield folder


@pytest.fixture(scope="module")
def predictions(prepared, tmp_path_factory):
    """An evaluation's reports and saved label maps, random ones."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("model")
    evaluator = AVSSEvaluator(DATASET, output_dir=folder, save_predictions=True)
    for record in DatasetCatalog.get(DATASET):
        size = len(record["file_names"]), record["height"], record["width"]
        ids = random.choice([0, 16, 39], size).repeat(2, 1).repeat(2, 2)
        output = {"label_map": torch.from_numpy(ids.astype(np.int32)), "names": AVSBENCH_NAMES}
        evaluator.process([record], [output])
    evaluator.evaluate()
    return folder


def reports(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_saved_maps_give_the_same_reports(predictions, tmp_path):
    score_saved(DATASET, predictions / "predictions", tmp_path / "scored")
    assert reports(tmp_path / "scored") == reports(predictions)


def test_two_processes_write_the_same_bytes(predictions, tmp_path):
    launch(score_saved, 2, args=(DATASET, predictions / "predictions", tmp_path / "two"))
    assert reports(tmp_path / "two") == reports(predictions)


def test_the_command_line_needs_no_model(predictions, tmp_path):
    script = importlib.import_module("train_net")
    arguments = ["--config-file", f"{ROOT}/configs/ovavss_R50.yaml", "--eval-only"]
    keys = {
        "DATASETS.TEST": f"('{DATASET}',)",
        "TEST.PREDICTIONS": str(predictions / "predictions"),
        "OUTPUT_DIR": str(tmp_path / "out"),
    }
    script.run([*arguments, *(word for pair in keys.items() for word in pair)])
    assert reports(tmp_path / "out" / "scored" / DATASET) == reports(predictions)


def test_a_closed_set_has_no_novel_figures(predictions, prepared, tmp_path):
    write_lists(
        prepared / "AVSBench-semantic", closed_lists(prepared / "AVSBench-closed"), AVSBENCH_NAMES
    )
    folder = predictions / "predictions"
    results = score_saved("avsbench_semantic_test", folder, tmp_path / "closed")
    derived = json.loads((predictions / "results.json").read_text())
    assert results["avss"]["mIoU"] == derived["avss"]["mIoU"]
    assert np.isnan(results["avsbench_ov"]["novel"])
    assert "closed set" in (tmp_path / "closed" / "results.md").read_text()


def test_missing_maps_are_reported_first(predictions, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(predictions / "predictions", folder)
    for name in ("0.png", "3.png"):
        (folder / "test_mixed" / name).unlink()
    with pytest.raises(FileNotFoundError, match="lacks 2 of 20 label maps, the first is") as error:
        score_saved(DATASET, folder, tmp_path / "scored")
    assert "\n" not in str(error.value) and not (tmp_path / "scored").exists()
    with pytest.raises(FileNotFoundError, match="does not exist; give a folder"):
        score_saved(DATASET, tmp_path / "nowhere", None)


@pytest.mark.parametrize("mode", ["L", "I;16", "P", "RGB", "RGBA"])
def test_gray_values_and_colors_are_read_as_ids(tmp_path, mode):
    ids = np.arange(70).reshape(7, 10)
    if mode in ("P", "RGB", "RGBA"):
        image = Image.fromarray(voc_palette(71)[ids])
        image = image.quantize(256) if mode == "P" else image.convert(mode)
    else:
        types = {"L": np.uint8, "I;16": np.uint16}
        image = Image.fromarray(ids.astype(types[mode]))
    image.save(tmp_path / "a.png")
    assert (read_label_map(tmp_path / "a.png", 71) == ids).all()


@pytest.mark.parametrize(
    "content, message",
    [
        (np.full((2, 2), 200, np.uint8), "the ids are 200 to 200, expected 0 to 70"),
        (np.full((2, 2, 3), 7, np.uint8), "4 pixels have none of the data set's 71 colors"),
        (None, "not a readable label map"),
    ],
)
def test_wrong_images_give_one_line(tmp_path, content, message):
    path = tmp_path / "a.png"
    path.write_bytes(b"no image") if content is None else Image.fromarray(content).save(path)
    with pytest.raises(ValueError, match=message) as error:
        read_label_map(path, 71)
    assert "\n" not in str(error.value)


def test_reports_have_all_subsets_protocols_and_intervals(predictions):
    results = json.loads((predictions / "results.json").read_text())
    low, high = results["intervals"]["base"]
    assert low <= results["avsbench_ov"]["base"] <= high
    assert set(results["per_subset"]) == {"v1m", "v1s", "v2"}
    assert sum(part["frames"] for part in results["per_subset"].values()) == results["frames"]
    text = (predictions / "results.md").read_text()
    assert "not AVSBench-OV" in text and "AVSS (TPAVI)" in text and "interval over videos" in text
    rows = (predictions / "per_class.csv").read_text().splitlines()
    assert rows[0] == "subset,id,name,group,iou,avss_iou,f,frames" and len(rows) == 1 + 4 * 71
    figures = (predictions / "figures.csv").read_text().splitlines()
    assert figures[0].startswith("subset,videos,frames,protocol") and len(figures) == 1 + 4 * 8
