"""Audio of the toy world: timbre follows shape, pitch follows color.

A sound is a tone plus noise in a band above it, a formant. The shape sets the formant and the
envelope (steady, pulses, tremolo, vibrato, plucks), the color sets the pitch. So shape and color
can be recognized separately, also in combinations that never occurred in training.

Every second is independent of the others (phase, onset, loudness). Waveforms are float in [-1, 1].
"""

from collections.abc import Sequence

import numpy as np
from scipy.signal import lfilter

from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.toy.shapes import color_of, shape_of
from ovavss_d2.vocabulary import TOY_COLORS, TOY_SHAPES

PITCHES = dict(zip(TOY_COLORS, np.geomspace(300, 3000, len(TOY_COLORS)), strict=True))  # Hz
PITCH_JITTER = 0.02  # relative
LOUDNESS = 0.1  # root mean square of one source
LOUDNESS_JITTER = 2.0  # dB
PEAK = 0.95  # of full scale; seconds above it are scaled down
NOISE_BELOW = (20.0, 25.0)  # dB below LOUDNESS, of the background noise
PARTIALS = (1.0, 0.35, 0.15)  # amplitudes of the pitch and its multiples
MAX_PARTIAL = 3500.0  # Hz; partials above are omitted
FORMANTS = dict(zip(TOY_SHAPES, (4000.0, 4600.0, 5250.0, 5950.0, 6700.0), strict=True))  # Hz
FORMANT_WIDTH = 500.0  # Hz
_TIME = np.arange(SAMPLE_RATE) / SAMPLE_RATE


def draw_audio(
    rng: np.random.Generator, audible: Sequence[tuple[int, ...]], pitch_factor: float = 1.0
) -> np.ndarray:
    """Draw the audio of a clip.

    Args:
        rng: random numbers.
        audible: for each second, the class ids of all sources; an empty tuple is silence.
        pitch_factor: factor of all pitches.

    Returns:
        int16 samples (len(audible) * SAMPLE_RATE,).
    """
    level = LOUDNESS * 10 ** (-rng.uniform(*NOISE_BELOW) / 20)
    wave = level * draw_noise(rng, len(audible) * SAMPLE_RATE)
    for second, class_ids in enumerate(audible):
        part = wave[second * SAMPLE_RATE : (second + 1) * SAMPLE_RATE]
        for class_id in class_ids:
            part += draw_second(rng, class_id, pitch_factor)
        part *= min(1.0, PEAK / np.abs(part).max())
    return np.round(wave * 32767).astype(np.int16)


def draw_second(rng: np.random.Generator, class_id: int, pitch_factor: float = 1.0) -> np.ndarray:
    """Draw one second (SAMPLE_RATE,) of a class, without background noise."""
    shape = shape_of(class_id)
    pitch = pitch_factor * PITCHES[color_of(class_id)]
    pitch *= 1 + rng.uniform(-PITCH_JITTER, PITCH_JITTER)
    wave = _draw_tone(rng, shape, pitch) + _draw_formant(rng, shape)
    wave = wave * _draw_envelope(rng, shape) * _draw_fade(rng)
    gain = LOUDNESS * 10 ** (rng.uniform(-LOUDNESS_JITTER, LOUDNESS_JITTER) / 20)
    return wave * (gain / np.sqrt(np.mean(wave**2)))


def _draw_tone(rng: np.random.Generator, shape: str, pitch: float) -> np.ndarray:
    """The pitch and its partials, with root mean square 1."""
    frequency = np.full(SAMPLE_RATE, pitch)
    if shape == "star":  # a slow vibrato of two semitones in both directions
        frequency = pitch * 2 ** (
            rng.uniform(1.8, 2.2) / 12 * np.sin(_draw_phase(rng, rng.uniform(1.8, 2.4)))
        )
    phase = 2 * np.pi * np.cumsum(frequency) / SAMPLE_RATE
    wave = np.zeros(SAMPLE_RATE)
    for number, amplitude in enumerate(PARTIALS, start=1):
        if number * pitch < MAX_PARTIAL:
            wave += amplitude * np.sin(number * phase + rng.uniform(0, 2 * np.pi))
    return wave / np.sqrt(np.mean(wave**2))


def _draw_formant(rng: np.random.Generator, shape: str) -> np.ndarray:
    """Noise around the shape's formant, with root mean square 1."""
    center = FORMANTS[shape] / SAMPLE_RATE
    radius = np.exp(-np.pi * FORMANT_WIDTH / 2 / SAMPLE_RATE)
    pole = [1.0, -2 * radius * np.cos(2 * np.pi * center), radius**2]
    wave = lfilter([1.0], np.convolve(pole, pole), rng.standard_normal(SAMPLE_RATE))
    return wave / np.sqrt(np.mean(wave**2))


def _draw_envelope(rng: np.random.Generator, shape: str) -> np.ndarray:
    if shape == "square":  # pulses: on half of the time, with edges of about 10 ms
        return 1 / (1 + np.exp(-12 * np.sin(_draw_phase(rng, rng.uniform(3.8, 4.2)))))
    if shape == "triangle":  # a fast tremolo, nearly to zero
        return 0.53 + 0.47 * np.sin(_draw_phase(rng, rng.uniform(11.5, 12.5)))
    if shape == "cross":  # plucks: a fast attack, then decay
        since = np.mod(_TIME * rng.uniform(2.6, 3.2) + rng.random(), 1.0)
        return np.minimum(since / 0.01, 1) * np.exp(-since / 0.22)
    return np.ones(SAMPLE_RATE)


def _draw_fade(rng: np.random.Generator) -> np.ndarray:
    """A window from a random onset to a random end, with fades of 15 ms."""
    onset, end = rng.uniform(0, 0.12), 1 - rng.uniform(0, 0.06)
    return np.clip(np.minimum(_TIME - onset, end - _TIME) / 0.015, 0, 1)


def draw_noise(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Draw white noise plus some smoothed noise, with root mean square 1."""
    white = rng.standard_normal(samples)
    noise = white + rng.uniform(0, 0.6) * lfilter([1.0], [1.0, -0.9], white)
    return noise / np.sqrt(np.mean(noise**2))


def _draw_phase(rng: np.random.Generator, rate: float) -> np.ndarray:
    """The phase, in radians, of an oscillation of `rate` Hz from a random start."""
    return 2 * np.pi * (rate * _TIME + rng.random())
