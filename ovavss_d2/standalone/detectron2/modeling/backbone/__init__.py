"""Backbones: the base class, the registry, and the function that builds one from a config."""

from abc import ABCMeta, abstractmethod
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.missing import PartialRegistry
from torch import nn

BACKBONE_REGISTRY = PartialRegistry("BACKBONE")
BACKBONE_REGISTRY.__doc__ = """
Backbones, which extract feature maps from images.

An entry is called as `entry(cfg, input_shape)` with the `ShapeSpec` of the image and returns a
`Backbone`.
"""


class Backbone(nn.Module, metaclass=ABCMeta):
    """A network that turns images into named feature maps.

    A subclass sets `_out_features` (names), `_out_feature_channels` and `_out_feature_strides`
    (dicts by name), or overrides `output_shape`.
    """

    _out_features: list[str]
    _out_feature_channels: dict[str, int]
    _out_feature_strides: dict[str, int]

    def __init__(self) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, *args: Any) -> dict[str, torch.Tensor]:
        """Compute feature maps by name from images (N, C, H, W)."""

    @property
    def size_divisibility(self) -> int:
        """Height and width of the input must be multiples of this; 0 allows any size."""
        return 0

    @property
    def padding_constraints(self) -> dict[str, int]:
        """May hold "size_divisibility" and "square_size", see `ImageList.from_tensors`."""
        return {}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each feature map."""
        return {
            name: ShapeSpec(
                channels=self._out_feature_channels[name], stride=self._out_feature_strides[name]
            )
            for name in self._out_features
        }


def build_backbone(cfg: CfgNode, input_shape: ShapeSpec | None = None) -> Backbone:
    """Build `cfg.MODEL.BACKBONE.NAME`.

    Args:
        cfg: the config.
        input_shape: of the images; `len(cfg.MODEL.PIXEL_MEAN)` channels if None.

    Raises:
        KeyError: no backbone is registered under this name.
    """
    if input_shape is None:
        input_shape = ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN))
    backbone = BACKBONE_REGISTRY.get(cfg.MODEL.BACKBONE.NAME)(cfg, input_shape)
    if not isinstance(backbone, Backbone):
        raise AssertionError(
            f"'{cfg.MODEL.BACKBONE.NAME}' returned a {type(backbone)}, expected a Backbone"
        )
    return backbone
