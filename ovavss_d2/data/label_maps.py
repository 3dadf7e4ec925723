"""Label maps: one class id per pixel, stored as images in the colors of the Pascal VOC palette.

Shapes: H W pixels, K classes including background (0).
"""

import functools
import os

import numpy as np
from PIL import Image

from ovavss_d2.files import atomic_path
from ovavss_d2.media.images import LABEL_FORMATS, open_image
from ovavss_d2.vocabulary import voc_palette

_UNKNOWN = 255  # id of colors outside the palette


def labels_from_colors(colors: np.ndarray, num_colors: int) -> tuple[np.ndarray, int]:
    """Convert palette colors to class ids.

    Args:
        colors: uint8 (H, W, 3) RGB.
        num_colors: K, at most 255; background is color 0.

    Returns:
        uint8 (H, W) ids, and the number of pixels with other colors (they become background).
    """
    labels = _color_table(num_colors)[_pack(colors)]
    unknown = labels == _UNKNOWN
    labels[unknown] = 0
    return labels, int(np.count_nonzero(unknown))


@functools.cache
def _color_table(num_colors: int) -> np.ndarray:
    """The inverse of the palette: uint8 (2^24,), packed color to class id."""
    table = np.full(1 << 24, _UNKNOWN, np.uint8)
    table[_pack(voc_palette(num_colors))] = np.arange(num_colors)
    return table


def _pack(colors: np.ndarray) -> np.ndarray:
    colors = colors.astype(np.int32)
    return (colors[..., 0] << 16) | (colors[..., 1] << 8) | colors[..., 2]


def read_labels(path: str | os.PathLike, num_colors: int) -> tuple[np.ndarray, int]:
    """Read a color label image; see `labels_from_colors`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not a PNG image, or damaged.
    """
    with open_image(path, "label image", LABEL_FORMATS) as image:
        colors = np.asarray(image.convert("RGB"))
    return labels_from_colors(colors, num_colors)


def resize_labels(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize class ids (H, W) to another size (H, W) by nearest neighbor."""
    if ids.shape == size:
        return ids
    return np.asarray(Image.fromarray(ids).resize(size[::-1], Image.Resampling.NEAREST))


def write_label_map(path: str | os.PathLike, ids: np.ndarray, palette: np.ndarray) -> None:
    """Write ids (H, W), at most 255, as an indexed PNG with an RGB palette (K, 3)."""
    image = Image.fromarray(ids.astype(np.uint8))
    image.putpalette(palette.tobytes())
    with atomic_path(path, durable=False) as temporary:
        image.save(temporary)
