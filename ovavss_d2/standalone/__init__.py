"""The runtime that replaces Detectron2 if Detectron2 itself is not installed."""

import importlib.util
import logging
import sys
from pathlib import Path

logger = logging.getLogger("ovavss_d2")


def activate() -> None:
    """Make `import detectron2` work.

    An installed Detectron2 always has priority: the folder of the runtime is added to the *end* of
    `sys.path`, and only if no other `detectron2` is found. Spawned processes inherit `sys.path`.
    """
    if importlib.util.find_spec("detectron2") is None:
        sys.path.append(str(Path(__file__).resolve().parent))


def describe() -> str:
    """Describe the Detectron2 in use, and its version, in one line."""
    import detectron2

    if Path(detectron2.__file__).resolve().parent.parent == Path(__file__).resolve().parent:
        return (
            f"standalone Detectron2 runtime {detectron2.__version__} (Detectron2 is not installed)"
        )
    return f"Detectron2 {detectron2.__version__}"
