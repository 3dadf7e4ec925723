"""Open-vocabulary audio-visual semantic segmentation as an extension of Detectron2.

Importing it makes `import detectron2` work and registers the project's models and data sets.
"""

import warnings
from typing import Any

from ovavss_d2.engine.environment import check_torch_packages
from ovavss_d2.standalone import activate

__version__ = "0.2.0"

# fvcore compiles a loss with torch.jit.script, which PyTorch deprecates; users cannot change it.
warnings.filterwarnings("ignore", ".*torch.jit.script.* deprecated", FutureWarning, append=True)
check_torch_packages()
activate()

from ovavss_d2 import data, modeling  # noqa: E402  (they import detectron2)
from ovavss_d2.config import add_ovavss_config, load_config  # noqa: E402

__all__ = ["Segmenter", "add_ovavss_config", "data", "load_config", "modeling"]


def __getattr__(name: str) -> Any:
    if name == "Segmenter":  # imported on demand, because it imports most of the package
        from ovavss_d2.segmenter import Segmenter

        return Segmenter
    raise AttributeError(f"module 'ovavss_d2' has no attribute '{name}'")
