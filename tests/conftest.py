"""Shared set-up: Detectron2, or what stands in for it, is importable in every test module."""

import random

import numpy as np
import pytest
import torch

import ovavss_d2  # noqa: F401  (makes `import detectron2` work)


@pytest.fixture(autouse=True)
def _seed():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
