"""Random resizing, flipping and cropping.

Random numbers come from NumPy's global generator, which the workers of a loader seed.
"""

import sys

import numpy as np
from fvcore.transforms.transform import (
    CropTransform,
    HFlipTransform,
    NoOpTransform,
    Transform,
    VFlipTransform,
)
from PIL import Image

from .augmentation import Augmentation
from .transform import ResizeTransform

__all__ = ["RandomCrop", "RandomFlip", "ResizeShortestEdge"]

_BILINEAR = int(Image.Resampling.BILINEAR)


class RandomFlip(Augmentation):
    """Flips the image, horizontally or vertically, with a probability."""

    def __init__(self, prob: float = 0.5, *, horizontal: bool = True, vertical: bool = False):
        """
        Args:
            prob: probability of a flip.
            horizontal, vertical: the direction; exactly one is True.
        """
        super().__init__()
        if horizontal and vertical:
            raise ValueError("Cannot do both horiz and vert. Please use two Flip instead.")
        if not horizontal and not vertical:
            raise ValueError("At least one of horiz or vert has to be True!")
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw a flip or no change."""
        if self._rand_range() >= self.prob:
            return NoOpTransform()
        height, width = image.shape[:2]
        return HFlipTransform(width) if self.horizontal else VFlipTransform(height)


class ResizeShortestEdge(Augmentation):
    """Brings the shorter side to a drawn length, the longer one to `max_size` at the most."""

    def __init__(
        self,
        short_edge_length: int | list[int],
        max_size: int = sys.maxsize,
        sample_style: str = "range",
        interp: int = _BILINEAR,
    ):
        """
        Args:
            short_edge_length: for "range", the smallest and the largest length; for "choice", the
                lengths to choose from; an int for a fixed length.
            max_size: maximum of the longer side.
            sample_style: "range" or "choice".
            interp: PIL's interpolation.
        """
        super().__init__()
        if sample_style not in ("range", "choice"):
            raise AssertionError(f"sample_style must be 'range' or 'choice', got '{sample_style}'")
        is_range = sample_style == "range"
        if isinstance(short_edge_length, int):
            short_edge_length = (short_edge_length, short_edge_length)
        if is_range and len(short_edge_length) != 2:
            raise AssertionError(
                "short_edge_length must be two values using 'range' sample style. "
                f"Got {short_edge_length}!"
            )
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw a resize; no change if the drawn length is 0."""
        height, width = image.shape[:2]
        if self.is_range:
            low, high = self.short_edge_length
            length = np.random.randint(low, high + 1)
        else:
            length = np.random.choice(self.short_edge_length)
        if length == 0:
            return NoOpTransform()
        size = self.get_output_shape(height, width, int(length), self.max_size)
        return ResizeTransform(height, width, *size, self.interp)

    @staticmethod
    def get_output_shape(
        oldh: int, oldw: int, short_edge_length: int, max_size: int
    ) -> tuple[int, int]:
        """Return (height, width) of a resized image of `oldh` x `oldw` pixels, rounded half up."""
        scale = short_edge_length * 1.0 / min(oldh, oldw)
        if oldh < oldw:
            height, width = short_edge_length, scale * oldw
        else:
            height, width = scale * oldh, short_edge_length
        longest = max(height, width)
        if longest > max_size:
            shrink = max_size * 1.0 / longest
            height, width = height * shrink, width * shrink
        return int(height + 0.5), int(width + 0.5)


class RandomCrop(Augmentation):
    """Crops a window at a random position."""

    def __init__(self, crop_type: str, crop_size: tuple[float, float]):
        """
        Args:
            crop_type: the meaning of `crop_size`. "relative": (height, width) relative to the
                image; "relative_range": each is drawn between the given value and 1; "absolute":
                pixels, limited to the image; "absolute_range": both sides are drawn between the
                two numbers of pixels.
            crop_size: two numbers.
        """
        super().__init__()
        if crop_type not in ("relative_range", "relative", "absolute", "absolute_range"):
            raise AssertionError(f"unknown crop_type '{crop_type}'")
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw a crop."""
        height, width = image.shape[:2]
        crop_h, crop_w = self.get_crop_size((height, width))
        if height < crop_h or width < crop_w:
            raise AssertionError(f"Shape computation in {self} has bugs.")
        y0 = np.random.randint(height - crop_h + 1)
        x0 = np.random.randint(width - crop_w + 1)
        return CropTransform(x0, y0, crop_w, crop_h)

    def get_crop_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Draw (height, width) of the window for an image of (height, width)."""
        sides = np.array(image_size)
        first, second = self.crop_size
        if self.crop_type == "absolute":
            return min(first, image_size[0]), min(second, image_size[1])
        if self.crop_type == "absolute_range":
            if first > second:
                raise AssertionError(f"crop_size {self.crop_size} is not a range")
            crop_h, crop_w = (np.random.randint(min(s, first), min(s, second) + 1) for s in sides)
            return int(crop_h), int(crop_w)
        parts = np.asarray(self.crop_size, dtype=np.float32)
        if self.crop_type == "relative_range":
            parts = parts + np.random.rand(2) * (1 - parts)
        crop_h, crop_w = (sides * parts + 0.5).astype(int).tolist()
        return crop_h, crop_w
