"""The augmentations: resizing, flipping, cropping, and brightness, contrast and saturation.

Random numbers come from NumPy's global generator, which a loader's workers seed.
"""

import sys

import numpy as np
from fvcore.transforms.transform import (
    BlendTransform,
    CropTransform,
    HFlipTransform,
    NoOpTransform,
    PadTransform,
    Transform,
    TransformList,
    VFlipTransform,
)
from PIL import Image

from .augmentation import Augmentation, _as_augmentation
from .transform import ResizeTransform

__all__ = [
    "FixedSizeCrop",
    "RandomApply",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomCrop_CategoryAreaConstraint",
    "RandomFlip",
    "RandomLighting",
    "RandomResize",
    "RandomSaturation",
    "Resize",
    "ResizeScale",
    "ResizeShortestEdge",
]

_BILINEAR = int(Image.Resampling.BILINEAR)

# How ImageNet's colours vary: eigenvectors and eigenvalues of the RGB covariance (AlexNet).
_COLOUR_VECTORS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
_COLOUR_VALUES = np.array([0.2175, 0.0188, 0.0045])
_LUMA = np.array([0.299, 0.587, 0.114])  # RGB to grey, BT.601


class RandomApply(Augmentation):
    """Applies an augmentation or a transform with a probability."""

    def __init__(self, tfm_or_aug: Augmentation | Transform, prob: float = 0.5):
        super().__init__()
        if not 0.0 <= prob <= 1.0:
            raise AssertionError(f"Probability must be between 0.0 and 1.0 (given: {prob})")
        self.aug = _as_augmentation(tfm_or_aug)
        self.prob = prob

    def _input_names(self):
        return self.aug._input_names()

    def get_transform(self, *args) -> Transform:
        """The inner one's transform, or none."""
        return self.aug.get_transform(*args) if self._rand_range() < self.prob else NoOpTransform()


class RandomFlip(Augmentation):
    """Flips the image, horizontally or vertically, with a probability."""

    def __init__(self, prob: float = 0.5, *, horizontal: bool = True, vertical: bool = False):
        super().__init__()
        if horizontal and vertical:
            raise ValueError("Cannot do both horiz and vert. Please use two Flip instead.")
        if not horizontal and not vertical:
            raise ValueError("At least one of horiz or vert has to be True!")
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        """A flip, or none."""
        if self._rand_range() >= self.prob:
            return NoOpTransform()
        height, width = image.shape[:2]
        return HFlipTransform(width) if self.horizontal else VFlipTransform(height)


class Resize(Augmentation):
    """Resizes to a fixed size."""

    def __init__(self, shape: int | tuple[int, int], interp: int = _BILINEAR):
        """Take (height, width), or one number for both, and PIL's interpolation."""
        shape = (shape, shape) if isinstance(shape, int) else tuple(shape)
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        """The resize."""
        return ResizeTransform(*image.shape[:2], *self.shape, self.interp)


class RandomResize(Augmentation):
    """Resizes to a size drawn from a list."""

    def __init__(self, shape_list: list[tuple[int, int]], interp: int = _BILINEAR):
        """Take (height, width) pairs and PIL's interpolation."""
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        """The resize to the size drawn."""
        new_h, new_w = self.shape_list[np.random.choice(len(self.shape_list))]
        return ResizeTransform(*image.shape[:2], new_h, new_w, self.interp)


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
            short_edge_length: with style "range" the two ends of the range (inclusive) from which
                the length is drawn, with "choice" the lengths to draw from; a number for one.
            max_size: of the longer side.
            sample_style: "range" or "choice".
            interp: PIL's interpolation.
        """
        super().__init__()
        if sample_style not in ("range", "choice"):
            raise AssertionError(sample_style)
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
        """The resize; none if 0 is drawn."""
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
        """(height, width) of an image of `oldh` x `oldw` after the resize, rounded half up."""
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


class ResizeScale(Augmentation):
    """Fits the image into a target size times a random factor, keeping its shape."""

    def __init__(
        self,
        min_scale: float,
        max_scale: float,
        target_height: int,
        target_width: int,
        interp: int = _BILINEAR,
    ):
        """Take the range of the factor, the size in pixels and PIL's interpolation."""
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        """The resize."""
        factor = np.random.uniform(self.min_scale, self.max_scale)
        size = np.array(image.shape[:2])
        target = np.array([self.target_height, self.target_width]) * factor
        new_h, new_w = np.round(size * (target / size).min()).astype(int).tolist()
        return ResizeTransform(*image.shape[:2], new_h, new_w, self.interp)


class FixedSizeCrop(Augmentation):
    """Cuts a window of a fixed size at random, or pads the right and bottom up to that size."""

    def __init__(
        self,
        crop_size: tuple[int, int],
        pad: bool = True,
        pad_value: float = 128.0,
        seg_pad_value: int = 255,
    ):
        """Take (height, width), whether to pad, and what the padding of image and labels holds."""
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> TransformList:
        """The crop and, if wanted, the padding."""
        height, width = image.shape[:2]
        crop_h, crop_w = self.crop_size
        spare = np.maximum(np.subtract((height, width), self.crop_size), 0)
        y0, x0 = np.round(spare * np.random.uniform(0.0, 1.0)).astype(int).tolist()
        transforms = [CropTransform(x0, y0, crop_w, crop_h, width, height)]
        if self.pad:
            kept_h, kept_w = min(height, crop_h), min(width, crop_w)
            missing = (0, 0, crop_w - kept_w, crop_h - kept_h)
            fill = (self.pad_value, self.seg_pad_value)
            transforms.append(PadTransform(*missing, kept_w, kept_h, *fill))
        return TransformList(transforms)


class RandomCrop(Augmentation):
    """Cuts a window out at a random place."""

    def __init__(self, crop_type: str, crop_size: tuple[float, float]):
        """
        Args:
            crop_type: what `crop_size` means. "relative": (height, width) in parts of the image's;
                "relative_range": each part is drawn between the given one and 1; "absolute":
                pixels, not more than the image has; "absolute_range": both sides are drawn between
                the two numbers of pixels.
            crop_size: two numbers.
        """
        super().__init__()
        if crop_type not in ("relative_range", "relative", "absolute", "absolute_range"):
            raise AssertionError(f"unknown crop_type '{crop_type}'")
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        """The crop."""
        height, width = image.shape[:2]
        crop_h, crop_w = self.get_crop_size((height, width))
        if height < crop_h or width < crop_w:
            raise AssertionError(f"Shape computation in {self} has bugs.")
        y0 = np.random.randint(height - crop_h + 1)
        x0 = np.random.randint(width - crop_w + 1)
        return CropTransform(x0, y0, crop_w, crop_h)

    def get_crop_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of a window in an image of (height, width)."""
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


class RandomCrop_CategoryAreaConstraint(Augmentation):  # noqa: N801  (Detectron2's name)
    """A `RandomCrop` whose window, after ten attempts, is not filled by one category alone."""

    _ATTEMPTS = 10

    def __init__(
        self,
        crop_type: str,
        crop_size: tuple[float, float],
        single_category_max_area: float = 1.0,
        ignored_category: int | None = None,
    ):
        """
        Args:
            crop_type, crop_size: as in `RandomCrop`.
            single_category_max_area: largest part of the labeled window that one category may
                fill; 1 for any.
            ignored_category: a label that does not count.
        """
        self.crop_aug = RandomCrop(crop_type, crop_size)
        self._init(locals())

    def get_transform(self, image: np.ndarray, sem_seg: np.ndarray) -> Transform:
        """The crop; the last attempt's if none meets the constraint."""
        if self.single_category_max_area >= 1.0:
            return self.crop_aug.get_transform(image)
        height, width = sem_seg.shape
        for _ in range(self._ATTEMPTS):
            crop_h, crop_w = self.crop_aug.get_crop_size((height, width))
            y0 = np.random.randint(height - crop_h + 1)
            x0 = np.random.randint(width - crop_w + 1)
            if self._is_mixed(sem_seg[y0 : y0 + crop_h, x0 : x0 + crop_w]):
                break
        return CropTransform(x0, y0, crop_w, crop_h)

    def _is_mixed(self, labels) -> bool:
        categories, counts = np.unique(labels, return_counts=True)
        if self.ignored_category is not None:
            counts = counts[categories != self.ignored_category]
        return len(counts) > 1 and counts.max() < counts.sum() * self.single_category_max_area


class _RandomBlend(Augmentation):
    """Blends the image with another, by a factor drawn uniformly; 1 keeps the image."""

    def __init__(self, intensity_min: float, intensity_max: float):
        """Take the range of the factor; less than 1 weakens the property, more strengthens it."""
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        """The blend."""
        factor = np.random.uniform(self.intensity_min, self.intensity_max)
        other = self._other(image)
        return BlendTransform(src_image=other, src_weight=1 - factor, dst_weight=factor)

    def _other(self, image):
        raise NotImplementedError


class RandomBrightness(_RandomBlend):
    """Changes the brightness: blends with black."""

    def _other(self, image):
        return 0


class RandomContrast(_RandomBlend):
    """Changes the contrast: blends with the image's mean."""

    def _other(self, image):
        return image.mean()


class RandomSaturation(_RandomBlend):
    """Changes the saturation of an RGB image: blends with its grey version."""

    def _other(self, image):
        if image.shape[-1] != 3:
            raise AssertionError("RandomSaturation only works on RGB images")
        return image.dot(_LUMA)[:, :, None]


class RandomLighting(Augmentation):
    """AlexNet's colour jitter of RGB images, along the main directions of ImageNet's colours."""

    def __init__(self, scale: float):
        """Take the standard deviation of the steps."""
        super().__init__()
        self._init(locals())
        self.eigen_vecs = _COLOUR_VECTORS
        self.eigen_vals = _COLOUR_VALUES

    def get_transform(self, image: np.ndarray) -> Transform:
        """The shift of all colours."""
        if image.shape[-1] != 3:
            raise AssertionError("RandomLighting only works on RGB images")
        steps = np.random.normal(scale=self.scale, size=3)
        shift = self.eigen_vecs.dot(steps * self.eigen_vals)
        return BlendTransform(src_image=shift, src_weight=1.0, dst_weight=1.0)
