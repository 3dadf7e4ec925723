"""`ShapeSpec`: what is known of the shape of a feature map before there is one."""

from dataclasses import dataclass


@dataclass
class ShapeSpec:
    """Channels, size and stride (relative to the image) of a feature map; None where unknown."""

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None
