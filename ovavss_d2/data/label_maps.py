"""Label maps: one class id per pixel, stored as images with gray values or with the colors of the
Pascal VOC palette.

Shapes: H W pixels, K classes including background (0).
"""

import functools
import os

import numpy as np
from PIL import Image

from ovavss_d2.files import atomic_path
from ovavss_d2.media.images import LABEL_FORMATS, open_image
from ovavss_d2.vocabulary import voc_palette

# Modes of images whose values are ids.
GRAY_MODES = ("1", "L", "I", "I;16", "I;16B")
VOID = 255  # id of pixels that are not labeled; the evaluation ignores them
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
    """Read a label image: gray values are class ids or `VOID`, colors are those of the palette.

    The values of an indexed image are ids if its colors are those of the palette or all others.

    Args:
        path: the image.
        num_colors: K, at most 255.

    Returns:
        uint8 (H, W) ids, and the number of pixels with other ids or colors (they become
        background).

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not a PNG image, or damaged.
    """
    with open_image(path, "label image", LABEL_FORMATS) as image:
        if image.mode in GRAY_MODES or _has_ids_as_indices(image, num_colors):
            return _labels_from_ids(np.asarray(image), num_colors)
        colors = np.asarray(image.convert("RGB"))
    return labels_from_colors(colors, num_colors)


def _has_ids_as_indices(image: Image.Image, num_colors: int) -> bool:
    if image.mode != "P":
        return False
    colors = np.asarray(image.convert("RGB")).reshape(-1, 3)
    used, first = np.unique(np.asarray(image), return_index=True)
    ids = _color_table(num_colors)[_pack(colors[first])][~np.isin(used, (0, VOID))]
    used = used[~np.isin(used, (0, VOID))]
    return bool((ids == used).all() or np.isin(ids, (0, _UNKNOWN)).all())


def _labels_from_ids(ids: np.ndarray, num_colors: int) -> tuple[np.ndarray, int]:
    unknown = ((ids < 0) | (ids >= num_colors)) & (ids != VOID)
    return np.where(unknown, 0, ids).astype(np.uint8), int(np.count_nonzero(unknown))


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
