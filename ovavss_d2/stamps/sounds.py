"""Recorded sounds, mixed to the audio of a clip.

While an object sounds, its recording runs from a random position, in a loop with short pauses if it
is shorter, with a random loudness, speed and reverberation. Waveforms are float; shapes: S samples.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np
from scipy.signal import fftconvolve

from ovavss_d2.media.audio import read_audio
from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.toy.audio import LOUDNESS, PEAK, draw_noise

LOUDNESS_JITTER = 4.0  # dB
NOISE_BELOW = (15.0, 30.0)  # dB below LOUDNESS, of the background noise
SPEED = 0.06  # relative change of speed and pitch in both directions
PAUSE = 0.25  # seconds: upper bound of the pauses in a recording and between its repetitions
QUIET = 0.06  # level of a pause, relative to a recording's loudest part
REVERBERATION = (0.1, 0.5)  # seconds until an echo is 60 dB lower
WET = 0.5  # upper bound of the echoes' level, relative to the sound
FADE = 0.015  # seconds
_STEP = SAMPLE_RATE // 50  # samples for which a level is measured


def mix_audio(
    rng: np.random.Generator,
    audible: Sequence[tuple[int, ...]],
    path_of: Callable[[int], Path],
    speed: float = 1.0,
) -> np.ndarray:
    """Draw the audio of a clip.

    Args:
        rng: random numbers.
        audible: for each second, the class ids of all sources; an empty tuple is silence.
        path_of: the recording of a class.
        speed: factor of all speeds and pitches.

    Returns:
        int16 samples (len(audible) * SAMPLE_RATE,).
    """
    level = LOUDNESS * 10 ** (-rng.uniform(*NOISE_BELOW) / 20)
    wave = level * draw_noise(rng, len(audible) * SAMPLE_RATE)
    for class_id, start, seconds in periods(audible):
        part = wave[start * SAMPLE_RATE : (start + seconds) * SAMPLE_RATE]
        part += draw_sound(rng, read_recording(path_of(class_id)), len(part), speed)
    wave *= min(1.0, PEAK / np.abs(wave).max(initial=1e-9))
    return np.round(wave * 32767).astype(np.int16)


def periods(audible: Sequence[tuple[int, ...]]) -> Iterator[tuple[int, int, int]]:
    """Yield the periods in which a class sounds: class id, first second, number of seconds."""
    for class_id in sorted({i for now in audible for i in now}):
        second = 0
        for sounds, group in groupby(class_id in now for now in audible):
            seconds = len(list(group))
            if sounds:
                yield class_id, second, seconds
            second += seconds


def draw_sound(
    rng: np.random.Generator, recording: np.ndarray, samples: int, speed: float = 1.0
) -> np.ndarray:
    """Draw `samples` of a recording from `read_recording`."""
    speed *= 1 + rng.uniform(-SPEED, SPEED)
    pause = np.zeros(int(rng.uniform(0.2, 1) * PAUSE * SAMPLE_RATE))
    loop = np.concatenate([recording, pause])
    positions = rng.uniform(0, len(loop)) + speed * np.arange(samples)
    wave = np.interp(positions, np.arange(len(loop)), loop, period=len(loop))
    wave = _add_echoes(rng, wave)
    time = np.arange(samples) / SAMPLE_RATE
    wave *= np.clip(np.minimum(time, samples / SAMPLE_RATE - time) / FADE, 0, 1)
    gain = LOUDNESS * 10 ** (rng.uniform(-LOUDNESS_JITTER, LOUDNESS_JITTER) / 20)
    return wave * (gain / max(np.sqrt(np.mean(wave**2)), 1e-9))


@lru_cache(maxsize=300)
def read_recording(path: Path) -> np.ndarray:
    """Read a recording (S,) with faded ends, without long pauses, and with the same level of all.

    Raises:
        ValueError: nothing can be heard.
    """
    wave = read_audio(path).astype(np.float64)
    wave = np.pad(wave, (0, -len(wave) % _STEP))
    levels = np.sqrt(np.mean(wave.reshape(-1, _STEP) ** 2, axis=1))
    loud = levels > max(QUIET * levels.max(initial=0), 1e-4)
    if not loud.any():
        raise ValueError(f"'{path}': nothing can be heard; unpack the package again")
    wave = wave[np.repeat(_keep_short_pauses(loud), _STEP)]
    fade = np.minimum(np.arange(len(wave)) / (FADE * SAMPLE_RATE), 1)
    wave *= fade * fade[::-1]
    return wave / np.sqrt(np.mean(wave**2))


def _keep_short_pauses(loud: np.ndarray) -> np.ndarray:
    """Which steps to keep: all loud ones, and the start of each pause between them."""
    steps = np.arange(len(loud))
    since = steps - np.maximum.accumulate(np.where(loud, steps, -len(loud)))
    inside = steps < np.flatnonzero(loud)[-1]
    return loud | (inside & (since * _STEP <= PAUSE * SAMPLE_RATE))


def _add_echoes(rng: np.random.Generator, wave: np.ndarray) -> np.ndarray:
    length = int(rng.uniform(*REVERBERATION) * SAMPLE_RATE)
    echoes = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    echoes *= rng.uniform(0, WET) / np.sqrt(np.sum(echoes**2))
    return wave + fftconvolve(wave, echoes)[: len(wave)]
