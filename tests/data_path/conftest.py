"""Small trees in AVSBench-semantic's form, with the real names."""

import pytest
from avsbench_tree import Tree, fill, prepare, write_wav


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "AVSBench-semantic")


@pytest.fixture
def full_tree(tree):
    """Every subset and split, to be spoilt by the test."""
    return fill(tree)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A folder with such a tree and the split derived from it, to be read only."""
    return prepare(tmp_path_factory.mktemp("datasets"))


@pytest.fixture
def wav():
    return write_wav
