"""The part of Detectron2's public API that this project uses.

It implements configs, catalogs, loaders, transforms, registries, trainer, hooks, launcher,
checkpointer, events, `SemSegEvaluator`, `Visualizer` and `VideoVisualizer` on top of fvcore, iopath
and torchvision. It is used only if Detectron2 itself is not installed (see `ovavss_d2.standalone`).
The import of any other part raises an error that says to install Detectron2.
"""

from detectron2.missing import install_finder

__version__ = "0.6+standalone"

install_finder(__name__)
