"""The objects of an image (`Instances`, `Boxes`, `BitMasks`) and batches of images (`ImageList`).

Polygon masks, rotated boxes, keypoints and operations on pairs of boxes are not implemented.
"""

from .boxes import Boxes, BoxMode
from .image_list import ImageList
from .instances import Instances
from .masks import BitMasks

__all__ = ["BitMasks", "BoxMode", "Boxes", "ImageList", "Instances"]
