"""Shared set-up: Detectron2, or what stands in for it, is importable in every test module."""

import os
import random
import shutil

# One thread, here and in processes that tests start. On two, oneDNN (torch 2.14.1, AVX-512) crashes
# in the gradient of a 1 x 1 convolution with stride 2 and 8 channels, as tests' tiny networks have.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is downloaded

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is imported

import ovavss_d2  # noqa: F401  (makes `import detectron2` work)
from ovavss_d2.data.catalog import DatasetCatalog, MetadataCatalog
from tests.helpers.avsbench_tree import Tree, fill, prepare, write_wav


@pytest.fixture(autouse=True)
def _seed():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "AVSBench-semantic")


@pytest.fixture
def full_tree(tree):
    """A tree of every subset and split that a test may change."""
    return fill(tree)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Read-only data sets: such a tree and its derived split."""
    return prepare(tmp_path_factory.mktemp("datasets"))


@pytest.fixture
def spoilable(prepared, tmp_path, monkeypatch):
    """A copy of the prepared data sets that a test may change."""
    folder = tmp_path / "datasets"
    shutil.copytree(prepared, folder)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(folder))
    return folder


@pytest.fixture
def catalog():
    """Detectron2's catalogs, from which data sets that a test registers are removed afterwards."""
    before = set(DatasetCatalog.list())
    yield DatasetCatalog
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture
def wav():
    return write_wav
