"""Shared set-up: Detectron2, or what stands in for it, is importable in every test module."""

import os

import pytest
import torch

import ovavss_d2  # noqa: F401  (makes `import detectron2` work)

os.environ.setdefault("OMP_NUM_THREADS", "2")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
