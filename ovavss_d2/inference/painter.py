"""Painting what sounds onto frames: masks, names at them, a legend.

Detectron2's `Visualizer` draws one picture through matplotlib in about half a second, and a painted
video has thousands. So OpenCV draws here, in a few milliseconds a frame. For stills the label maps
serve the `Visualizer` as they are (`draw_sem_seg` with the data set's metadata).

Shape letters: H W pixels of a frame, h w of a line of text.
"""

import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ovavss_d2.inference.results import Segment

Color = tuple[int, int, int]

# Okabe and Ito's colours, which the colour-blind can tell apart, and, for long vocabularies, darker
# and paler ones beside them.
OKABE_ITO = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66),
    (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip
FURTHER = (
    (136, 34, 85), (51, 34, 136), (153, 153, 51), (17, 119, 51), (102, 37, 6), (255, 170, 187),
)  # fmt: skip
MASK_OPACITY = 0.35
MIN_AREA = 1e-3  # segments that cover less of the frame are painted, but not labeled
LEGEND_ROWS = 8
NAMES_MIN_HEIGHT = 120  # lower frames have no room for names,
LEGEND_MIN_HEIGHT = 180  # nor these for a legend
_FADED = 0.4  # opacity of a name in the legend that does not sound


def colors_of(names: Iterable[str]) -> dict[str, Color]:
    """Give every name its colour.

    The colour follows from the name itself, so it is the same in every video; where an earlier name
    of the vocabulary has it already, the next free one is taken, `OKABE_ITO` first.
    """
    colors: dict[str, Color] = {}
    for name in names:
        code = zlib.crc32(name.encode())
        choices = _turned(OKABE_ITO, code) + _turned(FURTHER, code)
        free = [color for color in choices if color not in colors.values()]
        colors[name] = free[0] if free else choices[code // 7 % len(choices)]
    return colors


def _turned(items: tuple, places: int) -> tuple:
    places %= len(items)
    return items[places:] + items[:places]


class Painter:
    """Draws masks with outlines, names with scores at the masks, and a legend."""

    def __init__(self, names: Sequence[str]):
        """
        Args:
            names: the vocabulary. A short one stands in the legend from the start, of a long one
                what has sounded so far.
        """
        self.colors = colors_of(names)
        self._keeps_legend = len(names) <= LEGEND_ROWS
        self._legend = list(names) if self._keeps_legend else []

    def paint(self, image: np.ndarray, segments: Sequence[Segment]) -> np.ndarray:
        """Paint objects, best first, onto a copy of a frame, uint8 (H, W, 3) RGB."""
        image, segments = image.copy(), joined(segments)
        height = image.shape[0]
        size = text_size(height)
        for segment in segments:
            self._draw_mask(image, segment, thickness=max(1, round(height / 240)))
        for segment in reversed(segments):  # the best ones on top
            if height >= NAMES_MIN_HEIGHT and segment.mask.mean() >= MIN_AREA:
                self._draw_name(image, segment, size)
        if height >= LEGEND_MIN_HEIGHT:
            self._draw_legend(image, {segment.name for segment in segments}, size)
        return image

    def _draw_mask(self, image: np.ndarray, segment: Segment, thickness: int) -> None:
        left, top, width, height = cv2.boundingRect(segment.mask.view(np.uint8))
        place = np.s_[top : top + height, left : left + width]
        mask = np.ascontiguousarray(segment.mask[place]).view(np.uint8)
        color = self.colors[segment.name]
        tint = cv2.addWeighted(
            image[place], 1 - MASK_OPACITY, np.full_like(image[place], color), MASK_OPACITY, 0
        )
        cv2.copyTo(tint, mask, image[place])
        outlines, _ = cv2.findContours(
            mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(left, top)
        )
        for ink, width in (((0, 0, 0), thickness + 2), (color, thickness)):  # a dark rim
            cv2.drawContours(image, outlines, -1, ink, width)

    def _draw_name(self, image: np.ndarray, segment: Segment, size: int) -> None:
        x, y = innermost_point(segment.mask)
        text = text_box(f"{segment.name} {segment.score:.2f}", size, self.colors[segment.name])
        paste(image, text, x - text.shape[1] // 2, y - text.shape[0] // 2)

    def _draw_legend(self, image: np.ndarray, sounding: set[str], size: int) -> None:
        if not self._keeps_legend:
            new = sorted(name for name in sounding if name not in self._legend)
            self._legend = (self._legend + new)[-LEGEND_ROWS:]
        y = size // 2
        for name in self._legend:
            box = text_box(name, size, self.colors[name])
            paste(image, box, size // 2, y, opacity=1.0 if name in sounding else _FADED)
            y += box.shape[0] + 2


def joined(segments: Sequence[Segment]) -> list[Segment]:
    """Segments, best first, in which those of one name that touch are one with the best score."""
    found: list[Segment] = []
    for segment in segments:
        for i, earlier in enumerate(found):
            if earlier.name == segment.name and _touch(earlier.mask, segment.mask):
                found[i] = replace(earlier, mask=earlier.mask | segment.mask)
                break
        else:
            found.append(segment)
    return found


def _touch(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether masks (H, W) have pixels side by side."""
    wider = cv2.dilate(one.view(np.uint8), np.ones((3, 3), np.uint8)).view(bool)
    return bool((wider & other).any())


def innermost_point(mask: np.ndarray) -> tuple[int, int]:
    """The pixel (x, y) of a mask (H, W) that is farthest from its edge; the frame's border is an
    edge too. Found on a coarser mask where it is large: names need no more."""
    step = max(1, min(mask.shape) // 180)
    coarse = mask[::step, ::step]
    if not coarse.any():
        step, coarse = 1, mask
    padded = np.pad(coarse.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(distance.argmax(), distance.shape)
    return int(x) * step, int(y) * step


def text_size(height: int) -> int:
    """Pixels of letters on a frame of this height."""
    return max(11, round(height / 26))


@lru_cache(maxsize=512)
def text_box(text: str, size: int, color: Color) -> np.ndarray:
    """A line of text on a box of the given colour, black or white, whichever reads better.

    Returns:
        uint8 (h, w, 3) RGB.
    """
    font = _font(size)
    left, _, right, _ = font.getbbox(text)
    margin = max(2, size // 5)
    ascent, descent = font.getmetrics()
    box = Image.new("RGB", (round(right - left) + 2 * margin, ascent + descent + margin), color)
    luminance = np.dot(color, (0.299, 0.587, 0.114))
    ink = "black" if luminance > 128 else "white"
    ImageDraw.Draw(box).text((margin - left, margin // 2), text, fill=ink, font=font)
    return np.asarray(box)


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: Latin, Greek, Cyrillic and more."""
    path = os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(path, size)


def paste(image: np.ndarray, box: np.ndarray, x: int, y: int, opacity: float = 1.0) -> None:
    """Put a box onto an image at (x, y), moved inside where it sticks out, cut off where it is
    larger."""
    height, width = image.shape[:2]
    box = box[:height, :width]
    x = min(max(x, 0), width - box.shape[1])
    y = min(max(y, 0), height - box.shape[0])
    place = image[y : y + box.shape[0], x : x + box.shape[1]]
    place[:] = cv2.addWeighted(place, 1 - opacity, box, opacity, 0)
