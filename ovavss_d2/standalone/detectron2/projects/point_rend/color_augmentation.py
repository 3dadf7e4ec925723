"""The colour augmentation of SSD (Liu et al., 2016), section 2.2."""

import random

import cv2
import numpy as np
from fvcore.transforms.transform import Transform


class ColorAugSSDTransform(Transform):
    """Random brightness, contrast, saturation and hue of uint8 images, each applied half the times.

    Contrast comes second or last, at random. Numbers are drawn, from Python's `random`, whenever
    the transform is applied, so that two images get two different changes.
    """

    def __init__(
        self,
        img_format: str,
        brightness_delta: int = 32,
        contrast_low: float = 0.5,
        contrast_high: float = 1.5,
        saturation_low: float = 0.5,
        saturation_high: float = 1.5,
        hue_delta: int = 18,
    ):
        """
        Args:
            img_format: "RGB" or "BGR".
            brightness_delta: largest change of a value in 0..255.
            contrast_low, contrast_high: range of the factor of all values.
            saturation_low, saturation_high: range of the factor of the saturation.
            hue_delta: largest turn of the hue, in steps of two degrees.
        """
        super().__init__()
        if img_format not in ("BGR", "RGB"):
            raise AssertionError(f"expected the format BGR or RGB, got {img_format}")
        self._set_attributes({"is_rgb": img_format == "RGB", **locals()})
        del self.img_format

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Coordinates as they are."""
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Labels as they are."""
        return segmentation

    def apply_image(self, img: np.ndarray, interp=None) -> np.ndarray:
        """(H, W, 3) uint8 image, recoloured."""
        img = img[:, :, ::-1] if self.is_rgb else img
        img = self.brightness(img)
        if random.randrange(2):
            steps = (self.contrast, self.saturation, self.hue)
        else:
            steps = (self.saturation, self.hue, self.contrast)
        for step in steps:
            img = step(img)
        return img[:, :, ::-1] if self.is_rgb else img

    def convert(self, img: np.ndarray, alpha: float = 1, beta: float = 0) -> np.ndarray:
        """alpha * img + beta, cut to 0..255, as uint8."""
        changed = img.astype(np.float32) * alpha + beta
        return changed.clip(0, 255).astype(np.uint8)

    def brightness(self, img: np.ndarray) -> np.ndarray:
        """Perhaps add a number to all values."""
        if not random.randrange(2):
            return img
        return self.convert(img, beta=random.uniform(-self.brightness_delta, self.brightness_delta))

    def contrast(self, img: np.ndarray) -> np.ndarray:
        """Perhaps multiply all values."""
        if not random.randrange(2):
            return img
        return self.convert(img, alpha=random.uniform(self.contrast_low, self.contrast_high))

    def saturation(self, img: np.ndarray) -> np.ndarray:
        """Perhaps multiply the saturation of a BGR image."""
        if not random.randrange(2):
            return img
        hsv = _to_hsv(img)
        factor = random.uniform(self.saturation_low, self.saturation_high)
        hsv[:, :, 1] = self.convert(hsv[:, :, 1], alpha=factor)
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)

    def hue(self, img: np.ndarray) -> np.ndarray:
        """Perhaps turn the hue of a BGR image."""
        if not random.randrange(2):
            return img
        hsv = _to_hsv(img)
        turn = random.randint(-self.hue_delta, self.hue_delta)
        hsv[:, :, 0] = (hsv[:, :, 0].astype(int) + turn) % 180
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)


def _to_hsv(img):
    return cv2.cvtColor(np.ascontiguousarray(img), cv2.COLOR_BGR2HSV)
