"""Resampling of mono audio, all at once or second by second.

Shapes: S samples.
"""

import functools
import itertools
import math
from collections.abc import Iterable, Iterator

import av
import numpy as np
import torch

from ovavss_d2.media.audio_format import SAMPLE_RATE

_MIN_RATE, _MAX_RATE = 1000, 3_000_000
_FILTER_REACH = 1024  # samples; more than half the length of the filter, up to 192 kHz


def check_rate(rate: int | None, name: str) -> int:
    """Return a sample rate, or raise a ValueError if it is unknown, or so far from 16 kHz that
    resampling would need gigabytes."""
    if rate is None or not _MIN_RATE <= rate <= _MAX_RATE:
        raise ValueError(f"{name} is {rate}, expected {_MIN_RATE} to {_MAX_RATE} (Hz)")
    return rate


def resample(samples: np.ndarray, rate: int, target: int = SAMPLE_RATE) -> np.ndarray:
    """Resample float32 (S,) from `rate`, see `check_rate`, to `target` Hz.

    The filter is the one known as "kaiser_best", or FFmpeg's for rates that would make it long.
    """
    if rate == target or not len(samples):
        return samples
    if _needs_long_filter(rate, target):
        return joined(_resampled_by_ffmpeg([samples], rate, target))
    return _filter(rate, target)(torch.from_numpy(np.ascontiguousarray(samples))).numpy()


def resampled_seconds(
    pieces: Iterable[np.ndarray], rate: int, target: int = SAMPLE_RATE
) -> Iterator[np.ndarray]:
    """Resample consecutive pieces at `rate` to seconds at `target` Hz, the last one shorter.

    The result equals `resample` of the whole.
    """
    if _needs_long_filter(rate, target):
        yield from _regrouped(_resampled_by_ffmpeg(pieces, rate, target), target)
    else:
        yield from _filtered_seconds(pieces, rate, target)


def joined(pieces: Iterable[np.ndarray]) -> np.ndarray:
    """Join pieces of audio to one, float32 (S,)."""
    return np.concatenate([np.zeros(0, np.float32), *pieces])


def _needs_long_filter(rate: int, target: int) -> bool:
    """Whether FFmpeg resamples: torchaudio's filter grows with rate * target / gcd^2."""
    gcd = math.gcd(rate, target)
    return gcd < 25 or rate * target > 308 * SAMPLE_RATE * gcd**2


@functools.lru_cache(maxsize=8)
def _filter(rate: int, target: int) -> torch.nn.Module:
    from torchaudio.transforms import Resample  # here: audio at 16 kHz needs no torchaudio

    return Resample(
        rate,
        target,
        resampling_method="sinc_interp_kaiser",
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        beta=14.769656459379492,
    )


def _resampled_by_ffmpeg(
    pieces: Iterable[np.ndarray], rate: int, target: int
) -> Iterator[np.ndarray]:
    resampler = av.AudioResampler(format="flt", layout="mono", rate=target)
    for piece in itertools.chain(_regrouped(pieces, rate), [None]):
        frame = None
        if piece is not None:
            frame = av.AudioFrame.from_ndarray(piece[None], format="flt", layout="mono")
            frame.sample_rate = rate
        yield from (resampled.to_ndarray()[0] for resampled in resampler.resample(frame))


def _filtered_seconds(pieces: Iterable[np.ndarray], rate: int, target: int) -> Iterator[np.ndarray]:
    """Resample each second together with as much audio on both sides as the filter reaches."""
    step = rate // math.gcd(rate, target)  # input samples that give whole output samples
    reach = math.ceil(max(_FILTER_REACH, 68 * rate / target) / step) * step
    before = np.zeros(reach, np.float32)
    seconds, following = itertools.tee(_regrouped(pieces, rate))
    next(following, None)
    for second, after in itertools.zip_longest(seconds, following, fillvalue=before[:0]):
        around = np.concatenate([before, second, after[:reach]])
        first = reach * target // rate
        length = math.ceil(len(second) * target / rate)
        yield resample(around, rate, target)[first : first + length]
        before = np.concatenate([before, second])[-reach:]


def _regrouped(pieces: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Pieces of `size` samples; the last one may be shorter."""
    kept = np.zeros(0, np.float32)
    for piece in pieces:
        kept = np.concatenate([kept, piece])
        while len(kept) >= size:
            yield kept[:size]
            kept = kept[size:]
    if len(kept):
        yield kept
