"""A video at a glance: its frames with painted classes, over the spectrogram of its sound.

Shape letters: T frames, H W pixels, S samples at 16 kHz, h w of a picture of the page.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import matplotlib
import numpy as np

from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.media.drawing import PAPER, pad, paint_ids, resize_ids, resize_into, text_line

FRAMES = 10  # at most, of a video
CELL = (96, 128)  # height and width of a frame
WIDTH = FRAMES * CELL[1]
SOUND_HEIGHT = 72
_WINDOW, _HOP = 512, 160  # samples
_LOUDEST, _QUIETEST = 0.0, -80.0  # dB of a full-scale sine
_FAULT = (180, 0, 0)


@dataclass(frozen=True)
class Glance:
    """What is shown of a video.

    Attributes:
        caption: a line above it.
        faults: what looks wrong with it; shown in red.
        frames: T of uint8 (H, W, 3) RGB.
        ids: T class ids (H, W) to paint; None for a frame without truth, which says so.
        audio: float32 (S,) at 16 kHz, from time 0 on.
        times: T seconds, marked on the spectrogram.
    """

    caption: str
    faults: tuple[str, ...]
    frames: Sequence[np.ndarray]
    ids: Sequence[np.ndarray | None]
    audio: np.ndarray
    times: Sequence[float]


def spectrogram(audio: np.ndarray, seconds: float, size: tuple[int, int]) -> np.ndarray:
    """Draw a spectrogram, low sounds below, on one scale of loudness for all: uint8 (h, w, 3).

    Args:
        audio: float32 (S,) in [-1, 1] at 16 kHz.
        seconds: what the width stands for; silence where there is no sound.
        size: (h, w).
    """
    length = max(round(seconds * SAMPLE_RATE), _WINDOW)
    samples = np.zeros(length, np.float32)
    samples[: len(audio)] = audio[:length]
    windows = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    power = np.abs(np.fft.rfft(windows * np.hanning(_WINDOW), axis=1)) ** 2
    decibels = 10 * np.log10(power / (_WINDOW / 4) ** 2 + 1e-12)
    level = np.clip((decibels - _QUIETEST) / (_LOUDEST - _QUIETEST), 0, 1)
    image = cv2.resize(level.T[::-1].astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    return (matplotlib.colormaps["magma"](image)[..., :3] * 255).astype(np.uint8)


def strip(glance: Glance, palette: np.ndarray) -> np.ndarray:
    """Draw a video: uint8 (h, WIDTH, 3).

    Args:
        glance: what to show; of more than `FRAMES` frames, evenly spaced ones.
        palette: uint8 (K, 3), colours of the classes.
    """
    count = len(glance.frames)
    shown = [i * count // FRAMES for i in range(FRAMES)] if count > FRAMES else range(count)
    cells = [_cell(glance.frames[i], glance.ids[i], palette) for i in shown]
    sound = _sound(glance, [glance.times[i] for i in shown])
    pictures = [np.concatenate(cells, axis=1), sound]
    lines = [text_line(glance.caption, WIDTH)]
    if glance.faults:
        lines.append(text_line("; ".join(glance.faults), WIDTH, ink=_FAULT))
    return np.concatenate([*lines, *(pad(p, (p.shape[0], WIDTH)) for p in pictures)])


def _cell(frame: np.ndarray, ids: np.ndarray | None, palette: np.ndarray) -> np.ndarray:
    picture = resize_into(frame, (CELL[0] - 2, CELL[1] - 2))
    if ids is None:
        note = text_line("no truth", picture.shape[1], 10)
        picture = np.concatenate([picture[: -note.shape[0]], note])
    else:
        picture = paint_ids(picture, resize_ids(ids, picture.shape[:2]), palette)
    return pad(picture, CELL)


def _sound(glance: Glance, times: Sequence[float]) -> np.ndarray:
    """The spectrogram with a line and the time at each frame, as wide as the frames."""
    width = CELL[1] * len(times)
    seconds = max(len(glance.audio) / SAMPLE_RATE, max(glance.times) + 1)
    picture = spectrogram(glance.audio, seconds, (SOUND_HEIGHT, width))
    labels = np.full((16, width, 3), PAPER, np.uint8)
    for time in times:
        place = min(round(time / seconds * width), width - 1)
        picture[:, place] = labels[:, place] = (0, 158, 115)
        label = text_line(f"{time:g} s", 60, 10)[:, : max(width - place - 1, 0)]
        labels[:, place + 1 : place + 1 + label.shape[1]] = label
    return np.concatenate([picture, labels])
