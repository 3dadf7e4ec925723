"""Whole models (meta-architectures) and semantic segmentation heads: registries and builders."""

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.missing import PartialRegistry

META_ARCH_REGISTRY = PartialRegistry("META_ARCH")
META_ARCH_REGISTRY.__doc__ = """
Meta-architectures, that is, whole models.

An entry is called as `entry(cfg)` and returns a `torch.nn.Module`.
"""

SEM_SEG_HEADS_REGISTRY = PartialRegistry("SEM_SEG_HEADS")
SEM_SEG_HEADS_REGISTRY.__doc__ = """
Heads that compute a semantic segmentation from feature maps.

An entry is called as `entry(cfg, input_shape)` with a dict of `ShapeSpec`.
"""


def build_model(cfg: CfgNode) -> torch.nn.Module:
    """Build `cfg.MODEL.META_ARCHITECTURE` on `cfg.MODEL.DEVICE`; weights are not loaded.

    Raises:
        KeyError: no model is registered under this name.
    """
    model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg)
    return model.to(torch.device(cfg.MODEL.DEVICE))


def build_sem_seg_head(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> torch.nn.Module:
    """Build `cfg.MODEL.SEM_SEG_HEAD.NAME` for feature maps of the given shapes.

    Raises:
        KeyError: no head is registered under this name.
    """
    return SEM_SEG_HEADS_REGISTRY.get(cfg.MODEL.SEM_SEG_HEAD.NAME)(cfg, input_shape)
