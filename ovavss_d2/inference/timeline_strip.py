"""The timeline strip at the bottom of a painted video: the waveform, and colored bars where each
name sounds. It covers the whole video, or one minute at a time of a longer one.

Shape letters: H W pixels of a frame, h of the waveform, S audio samples.
"""

import itertools
import math
from collections.abc import Iterable

import cv2
import numpy as np

from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.media.drawing import WHITE, Color

PAGE_SECONDS = 60.0
MIN_HEIGHT = 120  # smaller frames get no strip
ROWS = 4  # the fifth and further names share the last row
_BRIGHTNESS = 0.3  # of the frame behind the strip
_WAVEFORM_COLOR: Color = (225, 225, 225)


class TimelineStrip:
    """Draws the strip on the frames of a video, in order."""

    def __init__(self, *, audio: Iterable[np.ndarray], duration: float, colors: dict[str, Color]):
        """
        Args:
            audio: float32 at 16 kHz, second by second; read one page at a time.
            duration: seconds of the video, 0 if not known.
            colors: of the names.
        """
        self.page_seconds = min(duration, PAGE_SECONDS) if duration > 0 else PAGE_SECONDS
        self.colors = colors
        self._audio = iter(audio)
        self._page = -1
        self._waveform = np.zeros((0, 0), bool)
        self._bars = np.zeros((ROWS, 0, 3), np.uint8)
        self._names: list[str] = []  # of the rows
        self._filled = 0  # columns of the bars

    def draw(self, image: np.ndarray, time: float, sounding: Iterable[str]) -> None:
        """Draw the strip onto a frame, uint8 (H, W, 3) RGB.

        `sounding` are the names that sound from `time` (seconds) on.
        """
        height, width = image.shape[:2]
        if height < MIN_HEIGHT:
            return
        page, offset = divmod(time, self.page_seconds)
        if page != self._page:
            self._start_page(int(page), width, max(14, height // 14))
        cursor = min(int(offset / self.page_seconds * width), width - 1)
        self._extend_bars(cursor, sounding)
        wave_height, thickness = len(self._waveform), max(2, height // 120)
        strip = image[height - wave_height - ROWS * (thickness + 1) - 2 :]
        strip[:] = cv2.convertScaleAbs(strip, alpha=_BRIGHTNESS)
        strip[:wave_height][self._waveform] = _WAVEFORM_COLOR
        for row, bar in enumerate(self._bars):
            top = wave_height + 1 + row * (thickness + 1)
            filled = bar.any(axis=1)
            strip[top : top + thickness, filled] = bar[filled]
        strip[:, cursor : cursor + max(1, width // 400)] = WHITE

    def _start_page(self, page: int, width: int, wave_height: int) -> None:
        samples = np.zeros(max(1, round(self.page_seconds * SAMPLE_RATE)), np.float32)
        seconds: list[np.ndarray] = []
        while self._page < page:
            seconds = list(itertools.islice(self._audio, math.ceil(self.page_seconds)))
            self._page += 1
        audio = np.concatenate([samples[:0], *seconds])[: len(samples)]
        samples[: len(audio)] = audio
        self._waveform = draw_waveform(samples, width, wave_height)
        self._bars = np.zeros((ROWS, width, 3), np.uint8)
        self._filled = 0

    def _extend_bars(self, cursor: int, sounding: Iterable[str]) -> None:
        for name in sounding:
            if name not in self._names and len(self._names) < ROWS:
                self._names.append(name)
            row = self._names.index(name) if name in self._names else ROWS - 1
            self._bars[row, self._filled : cursor + 1] = self.colors[name]
        self._filled = cursor + 1


def draw_waveform(samples: np.ndarray, width: int, height: int) -> np.ndarray:
    """Draw float32 (S,) samples as a symmetric waveform: bool (height, width).

    Heights are square roots of peak amplitudes, so that quiet sound is visible.
    """
    starts = np.linspace(0, len(samples), width, endpoint=False).astype(int)
    peaks = np.maximum.reduceat(np.abs(samples), starts)
    half = np.sqrt(np.clip(peaks, 0, 1)) * (height - 1) / 2
    return np.abs(np.arange(height) - (height - 1) / 2)[:, None] <= np.maximum(half, 0.5)
