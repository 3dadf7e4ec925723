"""The strip at the foot of a painted video: the waveform, and coloured bars that show which class
sounds when. It covers the whole video, or a minute at a time of a longer one.

Shape letters: H W pixels of a frame, h W of the strip.
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from ovavss_d2.inference.painter import Color
from ovavss_d2.media.audio_format import SAMPLE_RATE

PAGE_SECONDS = 60.0
MIN_HEIGHT = 120  # lower frames have no room for it
ROWS = 4  # names with a bar of their own; further ones share the last row
_BACKDROP = 0.3  # brightness that is left of the picture behind it
_WAVE = np.array((225, 225, 225), np.uint8)
_CURSOR = np.array((255, 255, 255), np.uint8)


class Strip:
    """Draws the strip on frames that come in the order of their times."""

    def __init__(self, *, sound: Iterable[np.ndarray], duration: float, colors: dict[str, Color]):
        """
        Args:
            sound: float32 pieces at 16 kHz from time 0 on; read a page at a time.
            duration: seconds of the video, 0 if not known.
            colors: of the names.
        """
        self.page_seconds = min(duration, PAGE_SECONDS) if duration > 0 else PAGE_SECONDS
        self.colors = colors
        self._pages = _pages(sound, round(self.page_seconds * SAMPLE_RATE))
        self._page = -1
        self._wave = np.zeros((0, 0), bool)  # no page yet, so no width
        self._bars = np.zeros((ROWS, 0, 3), np.uint8)
        self._rows: list[str] = []
        self._filled = 0

    def draw(self, image: np.ndarray, time: float, sounding: Iterable[str]) -> None:
        """Draw onto a frame, uint8 (H, W, 3) RGB, at this time, with what sounds from there on."""
        height, width = image.shape[:2]
        if height < MIN_HEIGHT:
            return
        self._turn_to(int(time / self.page_seconds), width, wave_height=max(14, height // 14))
        cursor = min(int((time % self.page_seconds) / self.page_seconds * width), width - 1)
        self._fill(cursor, sounding)
        thickness = max(2, height // 120)
        strip = image[height - len(self._wave) - ROWS * (thickness + 1) - 2 :]
        strip[:] = cv2.convertScaleAbs(strip, alpha=_BACKDROP)
        strip[: len(self._wave)][self._wave] = _WAVE
        for row in range(len(self._rows)):
            top = len(self._wave) + 1 + row * (thickness + 1)
            known = self._bars[row].any(axis=1)
            strip[top : top + thickness, known] = self._bars[row, known]
        strip[:, cursor : cursor + max(1, width // 400)] = _CURSOR

    def _turn_to(self, page: int, width: int, wave_height: int) -> None:
        if page == self._page and self._bars.shape[1] == width:
            return
        samples = np.zeros(0, np.float32)
        while self._page < page:
            samples = next(self._pages, np.zeros(0, np.float32))
            self._page += 1
        length = round(self.page_seconds * SAMPLE_RATE)
        self._wave = waveform(np.pad(samples, (0, length - len(samples))), width, wave_height)
        self._bars = np.zeros((ROWS, width, 3), np.uint8)
        self._filled = 0

    def _fill(self, cursor: int, sounding: Iterable[str]) -> None:
        for name in sounding:
            if name not in self._rows and len(self._rows) < ROWS:
                self._rows.append(name)
            row = self._rows.index(name) if name in self._rows else ROWS - 1
            self._bars[row, self._filled : cursor + 1] = self.colors[name]
        self._filled = cursor + 1


def waveform(samples: np.ndarray, width: int, height: int) -> np.ndarray:
    """A symmetric drawing of the loudness, bool (height, width), of float32 (S,) samples."""
    edges = np.linspace(0, len(samples), width + 1).astype(int)[:-1]
    padded = np.abs(samples) if len(samples) else np.zeros(1, np.float32)
    peaks = np.maximum.reduceat(padded, np.minimum(edges, len(padded) - 1))
    # Quiet sound shows too: the eye compares square roots of amplitudes better.
    half = np.sqrt(np.clip(peaks, 0, 1)) * (height - 1) / 2
    return np.abs(np.arange(height) - (height - 1) / 2)[:, None] <= np.maximum(half, 0.5)


def _pages(sound: Iterable[np.ndarray], length: int) -> Iterator[np.ndarray]:
    """Regroup pieces into pages of `length` samples; the last one is shorter."""
    kept = np.zeros(0, np.float32)
    for piece in sound:
        kept = np.concatenate([kept, piece])
        while len(kept) >= length:
            yield kept[:length]
            kept = kept[length:]
    yield kept
