"""The part of Detectron2's public API that this project stands on, without a compiler.

It is written afresh on fvcore, iopath and torchvision, and is used only where Detectron2 itself is
not installed (see `ovavss_d2.standalone`). What is absent here says so when it is imported.
"""

from detectron2.missing import install_finder

__version__ = "0.6+standalone"

install_finder(__name__)
