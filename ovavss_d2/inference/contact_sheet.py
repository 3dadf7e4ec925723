"""A still that tells a video: painted frames in rows, and below them what sounded when.

Shape letters: H W pixels of a frame, h w of a small one.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ovavss_d2.inference.painter import Color, paste, text_box
from ovavss_d2.inference.results import Span

MOST_FRAMES = 12
COLUMNS = 4
FRAME_WIDTH = 320
_BARS = 12  # names with a bar; those that sounded longest
_GAP = 6
_TEXT = 14
_PAPER = (250, 250, 250)
_INK: Color = (40, 40, 40)


class ContactSheet:
    """Keeps evenly spaced frames of a video of unknown length: all at first; whenever there are
    too many, every second one, and only as often from there on."""

    def __init__(self, path: Path, *, colors: dict[str, Color]):
        """
        Args:
            path: the picture to write.
            colors: of the names.
        """
        self.path = path
        self.colors = colors
        self.end = 0.0
        self._kept: list[tuple[float, np.ndarray]] = []
        self._step = 1
        self._seen = 0

    def add(self, time: float, painted: np.ndarray) -> None:
        """Take the next painted frame, uint8 (H, W, 3) RGB."""
        if self._seen % self._step == 0:
            if len(self._kept) == MOST_FRAMES:
                self._kept = self._kept[::2]
                self._step *= 2
            if self._seen % self._step == 0:
                self._kept.append((time, _small(painted)))
        self._seen += 1

    def write(self, spans: Sequence[Span]) -> None:
        """Write the sheet with bars for the spans."""
        columns = min(COLUMNS, len(self._kept))
        height, width = self._kept[0][1].shape[:2]
        rows = -(-len(self._kept) // columns)
        sheet_width = max(columns * (width + _GAP) + _GAP, 2 * FRAME_WIDTH)
        grid = np.full((rows * (height + _GAP) + _GAP, sheet_width, 3), _PAPER, np.uint8)
        for i, (time, image) in enumerate(self._kept):
            y, x = _GAP + i // columns * (height + _GAP), _GAP + i % columns * (width + _GAP)
            paste(grid, image, x, y)
            paste(grid, text_box(clock(time), _TEXT, _INK), x, y + height - _TEXT - _GAP)
        bars = draw_bars(spans, max(self.end, 1e-3), sheet_width, self.colors)
        Image.fromarray(np.concatenate([grid, bars])).save(self.path, quality=92)


def _small(image: np.ndarray) -> np.ndarray:
    scale = FRAME_WIDTH / image.shape[1]
    size = (FRAME_WIDTH, max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def clock(seconds: float) -> str:
    """Seconds as people write them: 7.5 s, 2:05, 1:00:00."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def draw_bars(
    spans: Sequence[Span], duration: float, width: int, colors: dict[str, Color]
) -> np.ndarray:
    """A row a name with bars where it sounds, uint8 (h, width, 3) RGB."""
    lengths: dict[str, float] = {}
    for span in spans:
        lengths[span.name] = lengths.get(span.name, 0.0) + span.end - span.start
    names = sorted(lengths, key=lambda name: -lengths[name])[:_BARS]
    if not names:
        text = text_box("nothing that sounds was found", _TEXT, _PAPER)
        page = np.full((text.shape[0] + 2 * _GAP, width, 3), _PAPER, np.uint8)
        paste(page, text, _GAP, _GAP)
        return page
    titles = [text_box(name, _TEXT, colors[name]) for name in names]
    left = min(max(title.shape[1] for title in titles), width // 3) + 2 * _GAP
    row = titles[0].shape[0] + 3
    page = np.full((row * len(names) + _GAP, width, 3), _PAPER, np.uint8)
    scale = (width - left - _GAP) / duration
    for i, (name, title) in enumerate(zip(names, titles, strict=True)):
        paste(page, title[:, : left - 2 * _GAP], _GAP, i * row)
        page[i * row + row // 2, left : width - _GAP] = 200
        for span in spans:
            if span.name == name:
                first = left + round(span.start * scale)
                last = left + max(
                    round(min(span.end, duration) * scale), round(span.start * scale) + 2
                )
                page[i * row + 3 : (i + 1) * row - 4, first:last] = colors[name]
    return page
