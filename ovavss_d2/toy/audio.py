"""Sounds of the toy world: timbre follows shape, pitch follows colour.

A sound is a tone and, above it, a breath: noise around a formant. The shape sets the formant and
how both go in time (steady, pulses, tremolo, vibrato, plucks), the colour sets the tone's pitch. So
shape and colour are heard apart, and a shape is known in a colour in which it was never heard.

Every second stands for itself (own phase, onset, loudness): what a frame hears is all there is to
hear. Waveforms are float in [-1, 1] at `SAMPLE_RATE`.
"""

import numpy as np
from scipy.signal import lfilter

from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.toy.scene import color_of, shape_of
from ovavss_d2.vocabulary import TOY_COLORS, TOY_SHAPES

PITCHES = dict(zip(TOY_COLORS, np.geomspace(300, 3000, len(TOY_COLORS)), strict=True))  # Hz
PITCH_JITTER = 0.02  # relative
LOUDNESS = 0.1  # root mean square of one source
LOUDNESS_JITTER = 2.0  # dB
PEAK = 0.95  # of full scale; a second that exceeds it is turned down as a whole
NOISE_BELOW = (20.0, 25.0)  # dB below LOUDNESS
PARTIALS = (1.0, 0.35, 0.15)  # amplitudes of the pitch and its multiples
TONE_BELOW = 3500.0  # Hz; partials above are left out
BREATH = 1.0  # root mean square of the breath, of the tone's
# Centre of a shape's breath in Hz: noise of BREATH_WIDTH around it, as of air in a pipe.
FORMANTS = dict(zip(TOY_SHAPES, (4000.0, 4600.0, 5250.0, 5950.0, 6700.0), strict=True))
BREATH_WIDTH = 500.0
_TIME = np.arange(SAMPLE_RATE) / SAMPLE_RATE


def draw_soundtrack(
    rng: np.random.Generator, sounding: list[tuple[int, ...]], transposed: float = 1.0
) -> np.ndarray:
    """Compose the sound of a clip.

    Args:
        rng: source of everything random.
        sounding: for each second the class ids of all sources, an empty tuple for silence.
        transposed: factor of all pitches.

    Returns:
        int16 samples (len(sounding) * SAMPLE_RATE,).
    """
    level = LOUDNESS * 10 ** (-rng.uniform(*NOISE_BELOW) / 20)
    wave = level * _draw_noise(rng, len(sounding) * SAMPLE_RATE)
    for second, class_ids in enumerate(sounding):
        part = wave[second * SAMPLE_RATE : (second + 1) * SAMPLE_RATE]
        for class_id in class_ids:
            part += draw_second(rng, class_id, transposed)
        part *= min(1.0, PEAK / np.abs(part).max())
    return np.round(wave * 32767).astype(np.int16)


def draw_second(rng: np.random.Generator, class_id: int, transposed: float = 1.0) -> np.ndarray:
    """Return one second (SAMPLE_RATE,) of the sound of a class, without noise."""
    shape = shape_of(class_id)
    pitch = transposed * PITCHES[color_of(class_id)]
    pitch *= 1 + rng.uniform(-PITCH_JITTER, PITCH_JITTER)
    tone, breath = _draw_tone(rng, shape, pitch), BREATH * _draw_breath(rng, shape)
    wave = (tone + breath) * _draw_envelope(rng, shape) * _draw_window(rng)
    gain = LOUDNESS * 10 ** (rng.uniform(-LOUDNESS_JITTER, LOUDNESS_JITTER) / 20)
    return wave * (gain / np.sqrt(np.mean(wave**2)))


def _draw_tone(rng, shape, pitch) -> np.ndarray:
    """Return pitch and partials at root mean square 1."""
    frequency = np.full(SAMPLE_RATE, pitch)
    if shape == "star":  # a slow vibrato of two semitones to both sides
        frequency = pitch * 2 ** (
            rng.uniform(1.8, 2.2) / 12 * np.sin(_turns(rng, rng.uniform(1.8, 2.4)))
        )
    phase = 2 * np.pi * np.cumsum(frequency) / SAMPLE_RATE
    wave = np.zeros(SAMPLE_RATE)
    for number, amplitude in enumerate(PARTIALS, start=1):
        if number * pitch < TONE_BELOW:
            wave += amplitude * np.sin(number * phase + rng.uniform(0, 2 * np.pi))
    return wave / np.sqrt(np.mean(wave**2))


def _draw_breath(rng, shape) -> np.ndarray:
    """Return noise around the shape's formant at root mean square 1."""
    center = FORMANTS[shape] / SAMPLE_RATE
    radius = np.exp(-np.pi * BREATH_WIDTH / 2 / SAMPLE_RATE)
    pole = [1.0, -2 * radius * np.cos(2 * np.pi * center), radius**2]
    wave = lfilter([1.0], np.convolve(pole, pole), rng.standard_normal(SAMPLE_RATE))
    return wave / np.sqrt(np.mean(wave**2))


def _draw_envelope(rng, shape) -> np.ndarray:
    if shape == "square":  # pulses: half of the time on, with edges of about 10 ms
        return 1 / (1 + np.exp(-12 * np.sin(_turns(rng, rng.uniform(3.8, 4.2)))))
    if shape == "triangle":  # a fast tremolo, nearly to zero
        return 0.53 + 0.47 * np.sin(_turns(rng, rng.uniform(11.5, 12.5)))
    if shape == "cross":  # plucks: at once loud, then decaying
        since = np.mod(_TIME * rng.uniform(2.6, 3.2) + rng.random(), 1.0)
        return np.minimum(since / 0.01, 1) * np.exp(-since / 0.22)
    return np.ones(SAMPLE_RATE)


def _draw_window(rng) -> np.ndarray:
    """On from a random onset to a random end, with fades of 15 ms."""
    onset, end = rng.uniform(0, 0.12), 1 - rng.uniform(0, 0.06)
    return np.clip(np.minimum(_TIME - onset, end - _TIME) / 0.015, 0, 1)


def _draw_noise(rng, samples) -> np.ndarray:
    """White noise, with more or less of it smoothed, at root mean square 1."""
    white = rng.standard_normal(samples)
    noise = white + rng.uniform(0, 0.6) * lfilter([1.0], [1.0, -0.9], white)
    return noise / np.sqrt(np.mean(noise**2))


def _turns(rng, rate) -> np.ndarray:
    return 2 * np.pi * (rate * _TIME + rng.random())
