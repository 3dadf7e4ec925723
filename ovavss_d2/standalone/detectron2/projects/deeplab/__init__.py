"""DeepLab: its config keys and its polynomial learning rate."""

from .build_solver import build_lr_scheduler
from .config import add_deeplab_config
from .lr_scheduler import WarmupPolyLR

__all__ = ["WarmupPolyLR", "add_deeplab_config", "build_lr_scheduler"]
