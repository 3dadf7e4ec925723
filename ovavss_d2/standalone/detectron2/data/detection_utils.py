"""`read_image`; helpers for annotations are not implemented."""

import numpy as np
from detectron2.utils.file_io import PathManager
from PIL import Image, ImageOps

__all__ = ["read_image"]


def read_image(file_name: str, format: str | None = None) -> np.ndarray:
    """Read an image and apply its EXIF orientation.

    Args:
        file_name: path or URL.
        format: one of PIL's modes or "BGR"; None keeps the mode of the file.

    Returns:
        uint8 (H, W, C); (H, W, 1) for the format "L".
    """
    with PathManager.open(file_name, "rb") as stream:
        image = ImageOps.exif_transpose(Image.open(stream))
        mode = "RGB" if format == "BGR" else format
        pixels = np.asarray(image if mode is None else image.convert(mode))
    if format == "BGR":
        return pixels[:, :, ::-1]
    return pixels[:, :, None] if format == "L" else pixels
