"""The registry of semantic segmentation heads."""

import torch
from detectron2.utils.registry import Registry

SEM_SEG_HEADS_REGISTRY = Registry("SEM_SEG_HEADS")
SEM_SEG_HEADS_REGISTRY.__doc__ = """
Heads that segment semantically from feature maps.

An entry is called as `entry(cfg, input_shape)` with a dict of `ShapeSpec`.
"""


def build_sem_seg_head(cfg, input_shape) -> torch.nn.Module:
    """Build `cfg.MODEL.SEM_SEG_HEAD.NAME` for features of the shapes given."""
    return SEM_SEG_HEADS_REGISTRY.get(cfg.MODEL.SEM_SEG_HEAD.NAME)(cfg, input_shape)
