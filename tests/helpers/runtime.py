"""The mark of tests that concern only the standalone runtime, not Detectron2 itself."""

import detectron2
import pytest

standalone_only = pytest.mark.skipif(
    "standalone" not in detectron2.__version__, reason="concerns the standalone runtime only"
)
