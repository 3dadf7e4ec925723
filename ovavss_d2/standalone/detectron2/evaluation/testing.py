"""What is done with results: print for a spreadsheet, compare with expected ones, flatten."""

import logging
import pprint
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)


def print_csv_format(results: Mapping[str, Any]) -> None:
    """Log each task's metrics as two lines, names and figures, separated by commas.

    Args:
        results: task name -> {metric name: figure}. Metrics with a dash in their name, such as the
            per-class "IoU-cat", are left out.
    """
    for task, figures in results.items():
        if not isinstance(figures, Mapping):
            logger.info(f"copypaste: {task}={figures}")
            continue
        main = {name: figure for name, figure in figures.items() if "-" not in name}
        logger.info(f"copypaste: Task: {task}")
        logger.info("copypaste: " + ",".join(main))
        logger.info("copypaste: " + ",".join(f"{figure:.4f}" for figure in main.values()))


def verify_results(cfg: Any, results: Mapping[str, Mapping[str, float]]) -> bool:
    """Compare results with cfg.TEST.EXPECTED_RESULTS; if one differs the program ends, status 1.

    Args:
        cfg: its TEST.EXPECTED_RESULTS is a list of [task, metric, expected figure, tolerance].
        results: task name -> {metric name: figure}.
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
    flat = {}
    for name, value in results.items():
        if isinstance(value, Mapping):
            for inner, figure in flatten_results_dict(value).items():
                flat[f"{name}/{inner}"] = figure
        else:
            flat[name] = value
    return flat
