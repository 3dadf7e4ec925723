"""Painting what sounds onto frames.

Detectron2's `Visualizer` draws one picture through matplotlib in about half a second, and a painted
video has thousands. So OpenCV draws each result once, in some tens of milliseconds, and blends it
over every frame near it in a few. For stills the label maps serve the `Visualizer` as they are
(`draw_sem_seg` with the data set's metadata).

Shape letters: H W pixels of a frame, h w of a line of text.
"""

import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ovavss_d2.segmenter import FrameResult, Segment

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
MIN_AREA = 1e-3  # segments that cover less of the frame are painted, but not labelled
LEGEND_ROWS = 8
NAMES_MIN_HEIGHT = 120  # lower frames have no room for names,
LEGEND_MIN_HEIGHT = 200  # nor these for a legend


def colors_of(names: Iterable[str]) -> dict[str, tuple[int, int, int]]:
    """Give every name its colour.

    The colour follows from the name itself, so it is the same in every video; where an earlier name
    of the vocabulary has it already, the next free one is taken, `OKABE_ITO` first.
    """
    colors: dict[str, tuple[int, int, int]] = {}
    for name in names:
        code = zlib.crc32(name.encode())
        choices = _turned(OKABE_ITO, code) + _turned(FURTHER, code)
        free = [color for color in choices if color not in colors.values()]
        colors[name] = (free or choices)[0]
    return colors


def _turned(items: tuple, places: int) -> tuple:
    places %= len(items)
    return items[places:] + items[:places]


@dataclass(frozen=True)
class Overlay:
    """What is painted over frames: `color` uint8 (H, W, 3) RGB with `opacity` float32 (H, W), 0 to
    1."""

    color: np.ndarray
    opacity: np.ndarray

    def on(self, image: np.ndarray) -> np.ndarray:
        """Paint it over an image, uint8 (H, W, 3) RGB."""
        return cv2.blendLinear(image, self.color, 1 - self.opacity, self.opacity)


class Painter:
    """Draws masks with outlines, names with scores at the masks, and a legend."""

    def __init__(self, names: tuple[str, ...]):
        """
        Args:
            names: the vocabulary. A short one stands in the legend as a whole, of a long one what
                has sounded.
        """
        self.colors = colors_of(names)
        self._legend = list(names) if len(names) <= LEGEND_ROWS else []
        self._keeps_legend = bool(self._legend)

    def paint(self, result: FrameResult) -> np.ndarray:
        """Paint a result over its own frame: uint8 (H, W, 3) RGB."""
        return self.overlay(result).on(result.image)

    def overlay(self, result: FrameResult) -> Overlay:
        """Draw a result once, to be painted over any number of frames of its size."""
        height, width = result.label_map.shape
        overlay = Overlay(
            np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.float32)
        )
        size = max(11, round(height / 26))
        for segment in result.segments:
            self._draw_mask(overlay, segment, thickness=max(1, round(height / 240)))
        for segment in reversed(result.segments):  # the best ones on top
            if height >= NAMES_MIN_HEIGHT and segment.mask.mean() >= MIN_AREA:
                self._draw_name(overlay, segment, size)
        if height >= LEGEND_MIN_HEIGHT:
            self._draw_legend(overlay, [segment.name for segment in result.segments], size)
        return overlay

    def _draw_mask(self, overlay: Overlay, segment: Segment, thickness: int) -> None:
        color = self.colors[segment.name]
        overlay.color[segment.mask] = color
        overlay.opacity[segment.mask] = MASK_OPACITY
        outlines, _ = cv2.findContours(
            segment.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        for ink, width in (((0, 0, 0), thickness + 2), (color, thickness)):  # a dark rim
            cv2.drawContours(overlay.color, outlines, -1, ink, width)
            cv2.drawContours(overlay.opacity, outlines, -1, 1.0, width)

    def _draw_name(self, overlay: Overlay, segment: Segment, size: int) -> None:
        x, y = innermost_point(segment.mask)
        text = text_box(f"{segment.name} {segment.score:.2f}", size, self.colors[segment.name])
        _paste(overlay, text, x - text.shape[1] // 2, y - text.shape[0] // 2)

    def _draw_legend(self, overlay: Overlay, sounding: list[str], size: int) -> None:
        if not self._keeps_legend:
            new = [name for name in dict.fromkeys(sounding) if name not in self._legend]
            self._legend = (self._legend + new)[-LEGEND_ROWS:]
        y = size // 2
        for name in self._legend:
            box = text_box(name, size, self.colors[name])
            _paste(overlay, box, size // 2, y, opacity=1.0 if name in sounding else 0.4)
            y += box.shape[0] + 2


def innermost_point(mask: np.ndarray) -> tuple[int, int]:
    """The pixel (x, y) of a mask (H, W) that is farthest from its edge; the frame's border is an
    edge too."""
    padded = np.pad(mask.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(distance.argmax(), distance.shape)
    return int(x), int(y)


@lru_cache(maxsize=512)
def text_box(text: str, size: int, color: tuple[int, int, int]) -> np.ndarray:
    """A line of text on a box of the given colour, black or white, whichever reads better.

    Returns:
        uint8 (h, w, 3) RGB.
    """
    font = _font(size)
    left, top, right, bottom = font.getbbox(text)
    margin = max(2, size // 5)
    ascent, descent = font.getmetrics()
    box = Image.new("RGB", (right - left + 2 * margin, ascent + descent + margin), color)
    luminance = np.dot(color, (0.299, 0.587, 0.114))
    ink = "black" if luminance > 128 else "white"
    ImageDraw.Draw(box).text((margin - left, margin // 2), text, fill=ink, font=font)
    return np.asarray(box)


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: Latin, Greek, Cyrillic and more."""
    path = os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(path, size)


def _paste(overlay: Overlay, box: np.ndarray, x: int, y: int, opacity: float = 1.0) -> None:
    """Put a box at (x, y), moved inside the frame where it sticks out, cut off where it is
    larger."""
    height, width = overlay.opacity.shape
    box = box[:height, :width]
    x = min(max(x, 0), width - box.shape[1])
    y = min(max(y, 0), height - box.shape[0])
    place = np.s_[y : y + box.shape[0], x : x + box.shape[1]]
    overlay.color[place] = box
    overlay.opacity[place] = opacity


def nearest_overlays(
    results: Iterable[FrameResult], frames: Iterable[tuple[float, np.ndarray]], painter: Painter
) -> Iterator[tuple[float, np.ndarray, Overlay]]:
    """Give every frame of a video the overlay of the segmented frame nearest to it in time.

    Args:
        results: ascending in time, at least one; read only as they are needed.
        frames: ascending times in seconds, with images.
        painter: draws each result once.

    Yields:
        Time, image, overlay.
    """
    results = iter(results)
    current, following = next(results), next(results, None)
    overlay = painter.overlay(current)
    for time, image in frames:
        while following is not None and abs(following.time - time) < abs(current.time - time):
            current, following = following, next(results, None)
            overlay = painter.overlay(current)
        yield time, image, overlay
