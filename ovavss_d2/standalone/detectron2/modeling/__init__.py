"""Registries of whole models and of their parts, and the functions that build them from a config.

The networks themselves (ResNet, FPN, R-CNN, ...) are not implemented.
"""

from .backbone import BACKBONE_REGISTRY, Backbone, build_backbone
from .meta_arch import META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY, build_model, build_sem_seg_head

__all__ = [
    "BACKBONE_REGISTRY",
    "Backbone",
    "META_ARCH_REGISTRY",
    "SEM_SEG_HEADS_REGISTRY",
    "build_backbone",
    "build_model",
    "build_sem_seg_head",
]
