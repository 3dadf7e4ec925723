"""Shared set-up: Detectron2, or what stands in for it, is importable in every test module."""

import os
import random

# One thread, here and in processes that tests start. On two, oneDNN (torch 2.14.1, AVX-512) crashes
# in the gradient of a 1 x 1 convolution with stride 2 and 8 channels, as tests' tiny networks have.
os.environ["OMP_NUM_THREADS"] = "1"

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
