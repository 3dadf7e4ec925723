"""The metrics equal the released implementation's, on all metric files of the oracle folder."""

import json

import numpy as np
import pytest

from ovavss_d2.evaluation.metrics import StreamingMetrics
from ovavss_d2.vocabulary import AVSBENCH_BASE_IDS, AVSBENCH_NAMES, novel_ids
from tests.helpers.parity import load_arrays, oracle_files

TOLERANCE = 1e-6


def measure(truth, prediction):
    metrics = StreamingMetrics(1 + len(AVSBENCH_NAMES))
    for pair in zip(truth, prediction, strict=True):
        metrics.add_frame(*pair)
    figures = metrics.figures(AVSBENCH_BASE_IDS, novel_ids(AVSBENCH_NAMES, AVSBENCH_BASE_IDS))
    return metrics, figures


@pytest.mark.parametrize("path", oracle_files("metric_seed*.npz"), ids=lambda path: path.stem)
def test_metrics_equal_the_released_implementation(path):
    arrays = load_arrays(path)
    expected = json.loads(path.with_suffix(".json").read_text())
    metrics, figures = measure(arrays["gt"], arrays["pred"])
    assert figures["avsbench_ov"] == pytest.approx(expected["avsbench_ov"], abs=TOLERANCE)

    tpavi, (iou, f) = expected["avss_tpavi"], metrics.avss.per_class()
    assert figures["avss"]["mIoU"] == pytest.approx(tpavi["mIoU"], abs=TOLERANCE)
    assert figures["avss"]["F"] == pytest.approx(tpavi["F"], abs=TOLERANCE)
    assert iou[1:].mean() == pytest.approx(tpavi["mIoU_no_background"], abs=TOLERANCE)
    assert f[1:].mean() == pytest.approx(tpavi["F_no_background"], abs=TOLERANCE)
    assert np.count_nonzero(metrics.avss.frames) == tpavi["classes_present"]

    variant = expected["avss_ovavss_variant"]
    assert figures["avss_released"]["mIoU"] == pytest.approx(variant["mIoU_71_rows"], abs=TOLERANCE)
    assert figures["avss_released"]["F"] == pytest.approx(variant["F_71_rows"], abs=TOLERANCE)
    assert np.count_nonzero(metrics.avss_released.frames) == variant["classes_present"]


def test_a_perturbed_oracle_fails():
    path = oracle_files("metric_seed*.npz")[0]
    arrays = load_arrays(path)
    expected = json.loads(path.with_suffix(".json").read_text())["avsbench_ov"]["mIoU"]
    arrays["pred"][0, 0, 0] = (int(arrays["gt"][0, 0, 0]) + 1) % 71
    _, figures = measure(arrays["gt"], arrays["pred"])
    assert abs(figures["avsbench_ov"]["mIoU"] - expected) > TOLERANCE
