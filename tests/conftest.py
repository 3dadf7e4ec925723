"""Shared set-up: Detectron2, or what stands in for it, is importable in every test module."""

import os
import random

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is imported

import ovavss_d2  # noqa: F401  (makes `import detectron2` work)


@pytest.fixture(autouse=True)
def _seed():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
