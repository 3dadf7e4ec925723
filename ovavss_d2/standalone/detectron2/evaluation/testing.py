"""Print results for spreadsheets, compare them with expected ones, flatten them."""

import logging
import pprint
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from detectron2.config import CfgNode

logger = logging.getLogger(__name__)


def print_csv_format(results: Mapping[str, Any]) -> None:
    """Log the metrics of each task in two lines, names and values, separated by commas.

    Args:
        results: {task name: {metric name: value}}. Metrics with a dash in their name, such as
            "IoU-cat" of a class, are not printed.
    """
    for task, metrics in results.items():
        if not isinstance(metrics, Mapping):
            logger.info(f"copypaste: {task}={metrics}")
            continue
        main = {name: value for name, value in metrics.items() if "-" not in name}
        logger.info(f"copypaste: Task: {task}")
        logger.info("copypaste: " + ",".join(main))
        logger.info("copypaste: " + ",".join(f"{value:.4f}" for value in main.values()))


def verify_results(cfg: CfgNode, results: Mapping[str, Mapping[str, float]]) -> bool:
    """Compare results with cfg.TEST.EXPECTED_RESULTS; exit with status 1 if one differs.

    Args:
        cfg: its TEST.EXPECTED_RESULTS is a list of [task, metric, expected value, tolerance].
        results: {task name: {metric name: value}}.

    Returns:
        True.
    """
    expected = cfg.TEST.EXPECTED_RESULTS
    if not expected:
        return True
    if all(_is_met(results, *expectation) for expectation in expected):
        logger.info("Results verification passed.")
        return True
    logger.error("Result verification failed!")
    logger.error("Expected Results: " + str(expected))
    logger.error("Actual Results: " + pprint.pformat(results))
    sys.exit(1)


def _is_met(
    results: Mapping[str, Mapping[str, float]],
    task: str,
    metric: str,
    expected: float,
    tolerance: float,
) -> bool:
    actual = results[task].get(metric)
    return actual is not None and bool(np.isfinite(actual)) and abs(actual - expected) <= tolerance


def flatten_results_dict(results: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten nested dictionaries: results["a"]["b"] becomes the entry "a/b"."""
    flat: dict[str, Any] = {}
    for name, value in results.items():
        if isinstance(value, Mapping):
            for inner, inner_value in flatten_results_dict(value).items():
                flat[f"{name}/{inner}"] = inner_value
        else:
            flat[name] = value
    return flat
