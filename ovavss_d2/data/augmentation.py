"""One augmentation for a whole clip: the same size, crop, flip and colors for all its frames.

Shapes: T frames of a clip, N masks, H W pixels before, h w after.
"""

import sys
from collections.abc import Sequence

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T

_MID_GRAY = 128.0
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class ColorTransform(T.NoOpTransform):
    """Scale brightness, contrast (about mid gray) and saturation of a uint8 RGB frame."""

    def __init__(self, brightness: float, contrast: float, saturation: float):
        super().__init__()
        self.brightness, self.contrast, self.saturation = brightness, contrast, saturation

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Adjust the colors of a frame (H, W, 3)."""
        img = img.astype(np.float32) * self.brightness
        img = (img - _MID_GRAY) * self.contrast + _MID_GRAY
        gray = (img @ _LUMA)[..., None]
        return np.clip((img - gray) * self.saturation + gray + 0.5, 0, 255).astype(np.uint8)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Masks have no colors."""
        return segmentation


class RandomColor(T.Augmentation):
    """Draw a `ColorTransform` with factors from 1 - strength to 1 + strength.

    Detectron2's contrast and saturation blend with an image made from the first frame, so they do
    not suit clips.
    """

    def __init__(self, strength: float = 0.25):
        super().__init__()
        self.strength = strength

    def get_transform(self, *args: np.ndarray) -> ColorTransform:
        """Draw the three factors."""
        return ColorTransform(*np.random.uniform(1 - self.strength, 1 + self.strength, 3).tolist())


def build_augmentation(cfg: CfgNode, is_train: bool) -> T.AugmentationList:
    """The augmentation of a config: size, and in training crop, flip and color."""
    sizes = cfg.INPUT
    if is_train:
        shortest, longest = sizes.MIN_SIZE_TRAIN, sizes.MAX_SIZE_TRAIN
        sampling = sizes.MIN_SIZE_TRAIN_SAMPLING
    else:
        shortest, longest, sampling = sizes.MIN_SIZE_TEST, sizes.MAX_SIZE_TEST, "choice"
    augmentations = [T.ResizeShortestEdge(shortest, longest or sys.maxsize, sampling)]
    if not is_train:
        return T.AugmentationList(augmentations)
    if cfg.INPUT.CROP.ENABLED:
        augmentations.append(T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
    if cfg.INPUT.RANDOM_FLIP == "horizontal":
        augmentations.append(T.RandomFlip())
    elif cfg.INPUT.RANDOM_FLIP != "none":
        raise ValueError(
            f"INPUT.RANDOM_FLIP is '{cfg.INPUT.RANDOM_FLIP}', expected 'horizontal' or 'none'"
        )
    if cfg.INPUT.COLOR_AUG:
        augmentations.append(RandomColor())
    return T.AugmentationList(augmentations)


def transform_frames(transforms: T.TransformList, frames: Sequence[np.ndarray]) -> np.ndarray:
    """Apply a clip's transforms to its frames: T of uint8 (H, W, 3) to uint8 (T, 3, h, w)."""
    frames = [transforms.apply_image(frame) for frame in frames]
    return np.ascontiguousarray(np.stack(frames).transpose(0, 3, 1, 2))


def transform_masks(transforms: T.TransformList, masks: np.ndarray) -> np.ndarray:
    """Apply a clip's transforms to masks of 0 and 1: uint8 (N, H, W) to bool (N, h, w)."""
    # Masks are resized by nearest neighbor, which mixes no values: eight masks share one image.
    packed = np.packbits(masks, axis=0)
    moved = np.stack([transforms.apply_segmentation(bits) for bits in packed])
    return np.unpackbits(moved, axis=0, count=len(masks)).astype(bool)
