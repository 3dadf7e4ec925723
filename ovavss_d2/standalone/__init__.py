"""The runtime that stands in for Detectron2 where Detectron2 itself is not installed."""

import importlib.util
import logging
import sys
from pathlib import Path

logger = logging.getLogger("ovavss_d2")


def activate() -> None:
    """Make `import detectron2` work.

    An installed Detectron2 always wins: the folder that holds the stand-in goes to the *end* of
    `sys.path`, and only if no `detectron2` is found without it. Spawned processes inherit
    `sys.path`, so it works there too.
    """
    if importlib.util.find_spec("detectron2") is None:
        sys.path.append(str(Path(__file__).resolve().parent))


def describe() -> str:
    """Name the Detectron2 that runs, and its version, in one line."""
    import detectron2

    if Path(detectron2.__file__).resolve().parent.parent == Path(__file__).resolve().parent:
        return (
            f"standalone Detectron2 runtime {detectron2.__version__} (Detectron2 is not installed)"
        )
    return f"Detectron2 {detectron2.__version__}"
