"""PointRend: its config keys, its colour augmentation and its sampling of points."""

from .color_augmentation import ColorAugSSDTransform
from .config import add_pointrend_config

__all__ = ["ColorAugSSDTransform", "add_pointrend_config"]
