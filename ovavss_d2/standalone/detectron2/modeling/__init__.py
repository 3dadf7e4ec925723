"""Models: registries of their parts, ways to build them from a config, and the ResNet backbone."""

from .backbone import (
    BACKBONE_REGISTRY,
    Backbone,
    ResNet,
    ResNetBlockBase,
    build_backbone,
    build_resnet_backbone,
    make_stage,
)
from .meta_arch import (
    META_ARCH_REGISTRY,
    SEM_SEG_HEADS_REGISTRY,
    build_model,
    build_sem_seg_head,
)
from .postprocessing import sem_seg_postprocess

__all__ = [
    "BACKBONE_REGISTRY",
    "Backbone",
    "META_ARCH_REGISTRY",
    "ResNet",
    "ResNetBlockBase",
    "SEM_SEG_HEADS_REGISTRY",
    "build_backbone",
    "build_model",
    "build_resnet_backbone",
    "build_sem_seg_head",
    "make_stage",
    "sem_seg_postprocess",
]
