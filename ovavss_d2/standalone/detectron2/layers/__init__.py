"""`Conv2d` with a norm and an activation, and `ShapeSpec`; other layers are not implemented."""

from .shape_spec import ShapeSpec
from .wrappers import Conv2d

__all__ = ["Conv2d", "ShapeSpec"]
