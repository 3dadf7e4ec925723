"""The bootstrap over videos, compared with drawing videos one by one."""

import math

import numpy as np
import pytest

from ovavss_d2.evaluation.bootstrap import REPLICATES, VideoBootstrap, replicate_counts
from ovavss_d2.evaluation.confusion import avsbench_ov_figures, pixel_counts

K, BASE, NOVEL = 5, (1, 2), (3, 4)


@pytest.fixture
def matrices():
    random = np.random.default_rng(0)
    noise = {f"video {i}": random.integers(0, 50, (K, K)) for i in range(12)}
    return {name: matrix + 200 * np.eye(K, dtype=np.int64) for name, matrix in noise.items()}


def bootstrap_of(matrices):
    bootstrap = VideoBootstrap(K)
    for name, matrix in matrices.items():
        bootstrap.add(name, pixel_counts(matrix))
    return bootstrap


def test_intervals_equal_those_of_explicit_replicates(matrices):
    figures, counts = [], {name: replicate_counts(name) for name in matrices}
    for r in range(REPLICATES):
        drawn = sum(counts[name][r] * matrix for name, matrix in matrices.items())
        figures.append(avsbench_ov_figures(pixel_counts(drawn), BASE, NOVEL))
    intervals = bootstrap_of(matrices).intervals(BASE, NOVEL)
    for name in ("mIoU", "base", "novel", "harmonic"):
        expected = np.percentile([one[name] for one in figures], [2.5, 97.5])
        np.testing.assert_allclose(intervals[name], expected)


def test_draws_depend_on_the_name_and_are_poisson():
    counts = np.stack([replicate_counts(f"v{i}") for i in range(50)])
    assert (counts[3] == replicate_counts("v3")).all() and (counts[3] != counts[4]).any()
    assert counts.mean() == pytest.approx(1, abs=0.02)
    assert counts.var() == pytest.approx(1, abs=0.05)
    assert abs(np.corrcoef(counts)[0, 1:]).max() < 0.15


def test_intervals_cover_the_true_figure():
    """About 95% of the intervals of many test sets contain the figure of their source."""
    random = np.random.default_rng(1)
    hits = 0
    for trial in range(60):
        bootstrap = VideoBootstrap(2)
        for video in range(40):
            correct = random.integers(0, 101)  # of 100 pixels, 50 on average
            matrix = np.array([[0, 0], [100 - correct, correct]])
            bootstrap.add(f"{trial} {video}", pixel_counts(matrix))
        low, high = bootstrap.intervals((1,), ())["base"]
        hits += low <= 0.5 <= high
    assert 51 <= hits <= 60


def test_groups_without_a_pixel_have_no_interval(matrices):
    intervals = bootstrap_of(matrices).intervals(BASE, ())
    assert all(map(math.isnan, (*intervals["novel"], *intervals["harmonic"])))
    assert not any(map(math.isnan, intervals["base"]))
