"""Contact sheets: frames with class ids painted over them, put together on a page.

Shape letters: H W pixels of a frame, h w of a cell of the page, K classes with background.
"""

import functools
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAINT = 0.55  # share of a class's colour where it is painted
PAPER = 255
INK = (20, 20, 20)
_NO_FRAME = 96  # grey of a frame that cannot be read


def thumbnail(path: str, box: tuple[int, int]) -> np.ndarray:
    """Read a frame, scaled into a box (h, w) with its sides in proportion: uint8 (H, W, 3) RGB.

    A frame that is missing or broken is grey, because a page of the others is still of use.
    """
    try:
        with Image.open(path) as image:
            frame = image.convert("RGB")
    except (OSError, ValueError, SyntaxError):
        frame = Image.new("RGB", box[::-1], (_NO_FRAME,) * 3)
    return resize_into(np.asarray(frame), box)


def resize_into(frame: np.ndarray, box: tuple[int, int]) -> np.ndarray:
    """Scale a frame, uint8 (H, W, 3), into a box (h, w) with its sides in proportion."""
    height, width = frame.shape[:2]
    scale = min(box[0] / height, box[1] / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR))


def resize_ids(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale ids, uint8 (H, W), to a size (h, w) by nearest neighbours."""
    return np.asarray(Image.fromarray(ids).resize(size[::-1], Image.Resampling.NEAREST))


def pad(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Put white below and at the right of a picture (H, W, 3), to (h, w, 3)."""
    missing = [(0, full - side) for full, side in zip(size, picture.shape, strict=False)]
    return np.pad(picture, (*missing, (0, 0)), constant_values=PAPER)


def paint_ids(frame: np.ndarray, ids: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Paint class ids over a frame, each region with a white outline.

    Args:
        frame: uint8 (H, W, 3) RGB.
        ids: (H, W), 0 is left as it is.
        palette: uint8 (K, 3).

    Returns:
        uint8 (H, W, 3).
    """
    colors = palette[ids].astype(np.float32)
    painted = np.where(ids[..., None] > 0, (1 - PAINT) * frame + PAINT * colors, frame)
    painted = np.ascontiguousarray(np.rint(painted), np.uint8)
    for category in np.unique(ids[ids > 0]):
        mask = (ids == category).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(painted, outlines, -1, (PAPER,) * 3, 1)
    return painted


def text_line(text: str, width: int, size: int = 12, ink: tuple[int, int, int] = INK) -> np.ndarray:
    """Write a line of text on white, cut where it leaves the width: uint8 (h, width, 3)."""
    image = Image.new("RGB", (width, size + 6), (PAPER,) * 3)
    ImageDraw.Draw(image).text((2, 1), text, ink, _font(size))
    return np.asarray(image)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")  # comes with matplotlib everywhere
    return ImageFont.truetype(str(folder / "DejaVuSans.ttf"), size)
