"""`ShapeSpec`: the shape of a feature map that is not computed yet."""

from dataclasses import dataclass


@dataclass
class ShapeSpec:
    """Channels, size and stride (relative to the image) of a feature map; None if unknown."""

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None
