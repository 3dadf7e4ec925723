"""Paints sounding objects onto frames: masks, names with scores, and a legend.

Shape letters: H W pixels of a frame.
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from ovavss_d2.inference.results import Segment
from ovavss_d2.media.drawing import BLACK, draw_mask, name_colors, paste, text_box
from ovavss_d2.media.fonts import drawable_names

MASK_OPACITY = 0.35
MIN_AREA = 1e-3  # share of the frame; smaller segments are painted without their names
LEGEND_ROWS = 8
NAMES_MIN_HEIGHT = 120  # pixels; names are not legible on smaller frames,
LEGEND_MIN_HEIGHT = 180  # and a legend would cover too much of these
_SILENT_OPACITY = 0.4  # of a name in the legend that is not sounding


class Painter:
    """Draws masks with outlines, names with scores, and a legend."""

    def __init__(self, names: Sequence[str]):
        """The legend lists all names of a short vocabulary, and those that have sounded so far of a
        long one."""
        self.colors = name_colors(names)
        self._labels = drawable_names(names)
        self._lists_all = len(names) <= LEGEND_ROWS
        self._legend = list(names) if self._lists_all else []

    def paint(self, image: np.ndarray, segments: Sequence[Segment]) -> np.ndarray:
        """Paint segments, best first, onto a copy of a frame, uint8 (H, W, 3) RGB."""
        image, segments = image.copy(), merge_touching(segments)
        height = image.shape[0]
        text_size, thickness = max(11, round(height / 26)), max(1, round(height / 240))
        for segment in segments:
            color = self.colors[segment.name]
            outlines = [(BLACK, thickness + 2), (color, thickness)]
            draw_mask(image, segment.mask, color, opacity=MASK_OPACITY, outlines=outlines)
        for segment in reversed(segments):  # the best on top
            if height >= NAMES_MIN_HEIGHT and segment.mask.mean() >= MIN_AREA:
                self._draw_name(image, segment, text_size)
        if height >= LEGEND_MIN_HEIGHT:
            self._draw_legend(image, {segment.name for segment in segments}, text_size)
        return image

    def _draw_name(self, image: np.ndarray, segment: Segment, size: int) -> None:
        x, y = innermost_point(segment.mask)
        label = f"{self._labels[segment.name]} {segment.score:.2f}"
        text = text_box(label, size, self.colors[segment.name])
        paste(image, text, x - text.shape[1] // 2, y - text.shape[0] // 2)

    def _draw_legend(self, image: np.ndarray, sounding: set[str], size: int) -> None:
        if not self._lists_all:
            self._legend += sorted(sounding.difference(self._legend))
            self._legend = self._legend[-LEGEND_ROWS:]
        y = size // 2
        for name in self._legend:
            box = text_box(self._labels[name], size, self.colors[name])
            opacity = 1.0 if name in sounding else _SILENT_OPACITY
            paste(image, box, size // 2, y, opacity)
            y += box.shape[0] + 2


def merge_touching(segments: Sequence[Segment]) -> list[Segment]:
    """Merge segments, best first, of the same name that touch; the best score is kept."""
    merged: list[Segment] = []
    for segment in segments:
        for i, earlier in enumerate(merged):
            if earlier.name == segment.name and _touch(earlier.mask, segment.mask):
                merged[i] = replace(earlier, mask=earlier.mask | segment.mask)
                break
        else:
            merged.append(segment)
    return merged


def _touch(mask: np.ndarray, other: np.ndarray) -> bool:
    """Whether masks (H, W) have neighboring pixels."""
    dilated = cv2.dilate(mask.view(np.uint8), np.ones((3, 3), np.uint8)).view(bool)
    return bool((dilated & other).any())


def innermost_point(mask: np.ndarray) -> tuple[int, int]:
    """The pixel (x, y) of a mask (H, W) that is farthest from its edge and from the frame's
    border."""
    step = max(1, min(mask.shape) // 180)  # faster; the position of a name need not be exact
    coarse = mask[::step, ::step]
    if not coarse.any():
        step, coarse = 1, mask
    padded = np.pad(coarse.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(distance.argmax(), distance.shape)
    return int(x) * step, int(y) * step
