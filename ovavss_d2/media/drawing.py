"""The drawing kit: colors, text boxes, masks, resizing, padding and pasting.

OpenCV and PIL draw a video frame in milliseconds; Detectron2's `Visualizer` needs half a second.

Shape letters: H W pixels of a picture, h w of a part of it or of a box, K classes with background.
"""

import itertools
import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ovavss_d2.media.fonts import DEFAULT_FONT, split_runs

Color = tuple[int, int, int]

BLACK: Color = (0, 0, 0)
WHITE: Color = (255, 255, 255)
GREEN: Color = (0, 158, 115)
# Okabe and Ito's colors, which color-blind people distinguish, and further ones for larger
# vocabularies.
OKABE_ITO: tuple[Color, ...] = (
    (230, 159, 0), (86, 180, 233), GREEN, (240, 228, 66), (0, 114, 178), (213, 94, 0),
    (204, 121, 167),
)  # fmt: skip
EXTRA_COLORS: tuple[Color, ...] = (
    (136, 34, 85), (51, 34, 136), (153, 153, 51), (17, 119, 51), (102, 37, 6), (255, 170, 187),
)  # fmt: skip
CLASS_OPACITY = 0.55  # of a class color over a frame, see `paint_classes`


def name_colors(names: Iterable[str]) -> dict[str, Color]:
    """Assign a color to each name.

    The color is a hash of the name, so it is the same in every video. If an earlier name of the
    vocabulary has it already, the next free color is taken, first of `OKABE_ITO`.
    """
    colors: dict[str, Color] = {}
    for name in names:
        code = zlib.crc32(name.encode())
        choices = [
            palette[(code + i) % len(palette)]
            for palette in (OKABE_ITO, EXTRA_COLORS)
            for i in range(len(palette))
        ]
        free = [color for color in choices if color not in colors.values()]
        colors[name] = free[0] if free else choices[code // 7 % len(choices)]
    return colors


@lru_cache(maxsize=512)
def text_box(text: str, size: int, color: Color = WHITE, ink: Color | None = None) -> np.ndarray:
    """Draw a line of text, `size` pixels high, on a colored box: uint8 (h, w, 3) RGB.

    Without `ink`, the text is black or white, whichever has more contrast.
    """
    runs = [(run, _font(font or DEFAULT_FONT, size)) for run, font in split_runs(text)]
    margin = max(2, size // 5)
    ascent, descent = np.max([font.getmetrics() for _, font in runs], axis=0)
    starts = [0.0, *itertools.accumulate(font.getlength(run) for run, font in runs)]
    left, end = runs[0][1].getbbox(runs[0][0])[0], runs[-1][1].getbbox(runs[-1][0])[2]
    box_size = round(starts[-2] + end - left) + 2 * margin, int(ascent + descent) + margin
    box = Image.new("RGB", box_size, color)
    if ink is None:
        ink = BLACK if np.dot(color, (0.299, 0.587, 0.114)) > 128 else WHITE
    for start, (run, font) in zip(starts, runs, strict=False):
        at = margin - left + start, margin // 2 + int(ascent) - font.getmetrics()[0]
        ImageDraw.Draw(box).text(at, run, fill=ink, font=font)
    return np.asarray(box)


@lru_cache(maxsize=64)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


def blank(height: int, width: int) -> np.ndarray:
    """A white picture: uint8 (height, width, 3)."""
    return np.full((height, width, 3), WHITE, np.uint8)


def paste(image: np.ndarray, box: np.ndarray, x: int, y: int, opacity: float = 1.0) -> None:
    """Paste a box (h, w, 3) onto an image (H, W, 3) at (x, y).

    A box that reaches over the border is moved inside; one larger than the image is cropped.
    """
    height, width = image.shape[:2]
    box = box[:height, :width]
    x = min(max(x, 0), width - box.shape[1])
    y = min(max(y, 0), height - box.shape[0])
    target = image[y : y + box.shape[0], x : x + box.shape[1]]
    target[:] = cv2.addWeighted(target, 1 - opacity, box, opacity, 0)


def pad(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pad an image with white, or crop it, at the bottom and on the right: (height, width, 3)."""
    padded = blank(height, width)
    paste(padded, image, 0, 0)
    return padded


def stack(rows: Sequence[np.ndarray], width: int) -> np.ndarray:
    """Pad or crop images to a width and put them below each other."""
    return np.concatenate([pad(row, len(row), width) for row in rows])


def resize_to_fit(image: np.ndarray, height: float, width: float) -> np.ndarray:
    """Resize an image (H, W, 3) to the largest size of its aspect ratio within height and width."""
    scale = min(height / image.shape[0], width / image.shape[1])
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=interpolation)


def draw_mask(
    image: np.ndarray,
    mask: np.ndarray,
    color: Color,
    *,
    opacity: float,
    outlines: Sequence[tuple[Color, int]],
) -> None:
    """Tint the pixels of a mask, bool (H, W), on an image, uint8 (H, W, 3).

    Outlines have a color and a thickness in pixels, and are drawn over each other in this order.
    """
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    region = np.s_[top : top + height, left : left + width]
    cropped = np.ascontiguousarray(mask[region]).view(np.uint8)
    full = np.full_like(image[region], color)
    tinted = cv2.addWeighted(image[region], 1 - opacity, full, opacity, 0)
    cv2.copyTo(tinted, cropped, image[region])
    contours, _ = cv2.findContours(
        cropped, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(left, top)
    )
    for ink, thickness in outlines:
        cv2.drawContours(image, contours, -1, ink, thickness)


def paint_classes(frame: np.ndarray, ids: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Paint class ids, uint8 (h, w), onto a copy of a frame, uint8 (H, W, 3), with white outlines.

    The ids are resized to the frame; 0 is not painted. `palette` has their colors, uint8 (K, 3).
    """
    frame = frame.copy()
    ids = cv2.resize(ids, frame.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    for i in np.unique(ids[ids > 0]):
        color = tuple(palette[i].tolist())
        draw_mask(frame, ids == i, color, opacity=CLASS_OPACITY, outlines=[(WHITE, 1)])
    return frame
