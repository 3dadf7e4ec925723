import numpy as np
import pytest

from tests.helpers.brute_force import NUM_CLASSES


@pytest.fixture
def random_frames():
    """Truth and prediction of six frames, some of them without objects."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, NUM_CLASSES - 1, (6, 9, 7)) * rng.integers(0, 2, (6, 1, 1))
    other = rng.integers(0, NUM_CLASSES, truth.shape)
    return truth, np.where(rng.random(truth.shape) < 0.5, truth, other)
