"""A contact sheet of a video: painted frames in rows, and below them when each name sounds.

Shape letters: h w of the drawn bars.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ovavss_d2.inference.painter import Painter
from ovavss_d2.inference.replacing import MARK
from ovavss_d2.inference.results import FrameResult, Span, Timeline
from ovavss_d2.media.drawing import Color, blank, pad, paste, resize_to_fit, text_box
from ovavss_d2.media.fonts import drawable_names

MAX_FRAMES = 12
COLUMNS = 4
FRAME_WIDTH = 320
MAX_BARS = 12  # names with a bar; those that sound longest
_GAP = 6
_TEXT_SIZE = 14
_DARK: Color = (40, 40, 40)
_LINE: Color = (200, 200, 200)


class ContactSheet:
    """Writes evenly spaced frames of a video of unknown length.

    It keeps all frames at first. When there are too many, it drops every second one, and from then
    on takes frames half as often.
    """

    def __init__(self, path: Path, painter: Painter):
        self.path = path
        self.kept: list[tuple[float, np.ndarray]] = []  # time and painted frame
        self._painter = painter
        self._step = 1
        self._count = 0

    def add(self, result: FrameResult) -> None:
        """Paint the next result's frame if it is kept."""
        if self._count % self._step == 0 and len(self.kept) == MAX_FRAMES:
            self.kept = self.kept[::2]
            self._step *= 2
        if self._count % self._step == 0:
            painted = self._painter.paint(result.image, result.segments)
            self.kept.append((result.time, resize_to_fit(painted, math.inf, FRAME_WIDTH)))
        self._count += 1

    def finish(self, timeline: Timeline) -> None:
        """Write the sheet with a bar for each span."""
        columns = min(COLUMNS, len(self.kept))
        height, width = self.kept[0][1].shape[:2]
        rows = math.ceil(len(self.kept) / columns)
        sheet_width = max(columns * (width + _GAP) + _GAP, 2 * FRAME_WIDTH)
        grid = blank(rows * (height + _GAP) + _GAP, sheet_width)
        for i, (time, image) in enumerate(self.kept):
            y, x = _GAP + i // columns * (height + _GAP), _GAP + i % columns * (width + _GAP)
            paste(grid, image, x, y)
            time_box = text_box(format_time(time), _TEXT_SIZE, _DARK)
            paste(grid, time_box, x, y + height - time_box.shape[0])
        bars = draw_bars(timeline.spans, timeline.end, sheet_width, self._painter.colors)
        Image.fromarray(np.concatenate([grid, bars])).save(self.path, quality=92, comment=MARK)


def format_time(seconds: float) -> str:
    """Format seconds for people: 7.5 s, 2:05, 1:00:00."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def draw_bars(
    spans: Sequence[Span], duration: float, width: int, colors: dict[str, Color]
) -> np.ndarray:
    """Draw one row per name with bars where it sounds: uint8 (h, width, 3) RGB."""
    totals: dict[str, float] = {}
    for span in spans:
        totals[span.name] = totals.get(span.name, 0.0) + span.end - span.start
    names = sorted(totals, key=lambda name: -totals[name])[:MAX_BARS]
    if not names:
        return pad(text_box("no sounding objects were found", _TEXT_SIZE), 2 * _TEXT_SIZE, width)
    labels = drawable_names(tuple(colors))
    titles = [text_box(labels[name], _TEXT_SIZE, colors[name]) for name in names]
    left = min(max(title.shape[1] for title in titles), width // 3) + 2 * _GAP
    row = max(title.shape[0] for title in titles) + 3
    bars = blank(row * len(names) + _GAP, width)
    scale = (width - left - _GAP) / duration
    for i, (name, title) in enumerate(zip(names, titles, strict=True)):
        paste(bars, title[:, : left - 2 * _GAP], _GAP, i * row)
        bars[i * row + row // 2, left : width - _GAP] = _LINE
        for span in (span for span in spans if span.name == name):
            first = left + round(span.start * scale)
            last = max(left + round(min(span.end, duration) * scale), first + 2)
            bars[i * row + 3 : (i + 1) * row - 4, first:last] = colors[name]
    return bars
