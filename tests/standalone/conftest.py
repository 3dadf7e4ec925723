import pytest
from detectron2.config import CfgNode, get_cfg


@pytest.fixture
def cfg() -> CfgNode:
    """Detectron2's default config."""
    return get_cfg()
