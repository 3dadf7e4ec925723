"""The base class of backbones."""

from abc import ABCMeta, abstractmethod

from detectron2.layers import ShapeSpec
from torch import nn


class Backbone(nn.Module, metaclass=ABCMeta):
    """A network that turns images into named feature maps.

    A subclass sets `_out_features` (names), `_out_feature_channels` and `_out_feature_strides`
    (dicts by name), or overrides `output_shape`.
    """

    def __init__(self):
        super().__init__()

    @abstractmethod
    def forward(self):
        """Images (N, C, H, W) to a dict of feature maps by name."""

    @property
    def size_divisibility(self) -> int:
        """What the height and width of the input must be multiples of; 0 for anything."""
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
