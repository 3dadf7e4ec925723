"""Sound: reading it as 16 kHz mono, and cutting out what each frame hears.

Shapes: S samples, T frames.
"""

import math
import os
import wave
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import av
import numpy as np

from ovavss_d2.media.audio_format import EXAMPLE_HOP, EXAMPLE_SAMPLES, SAMPLE_RATE

_CLOCK_JITTER = (
    0.005  # seconds by which a packet's time may miss the end of the one before (rounded times)
)


@contextmanager
def open_container(path: str | os.PathLike, what: str) -> Iterator[av.container.InputContainer]:
    """Open a media file, and turn FFmpeg's complaints inside the block into one line.

    Args:
        path: the file.
        what: "sound" or "video", for the message.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: FFmpeg cannot read it.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"'{path}': no such {what} file")
    try:
        with av.open(path) as container:
            yield container
    except av.FFmpegError as error:
        raise ValueError(f"'{path}': not a readable {what} file ({error.strerror})") from error


def read_audio(path: str | os.PathLike) -> np.ndarray:
    """Read the sound of a file.

    16-bit samples are divided by 32768, channels averaged; another rate is resampled to 16 kHz.

    Args:
        path: a WAV file, or any file in which FFmpeg finds sound.

    Returns:
        float32 (S,) in [-1, 1] at 16 kHz.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or holds no sound.
    """
    path = os.fspath(path)
    found = _read_pcm16(path)
    if found is None:
        with open_container(path, "sound") as container:
            if not container.streams.audio:
                raise ValueError(f"'{path}': holds no sound")
            return decode_sound(container)
    return resample(*found)


def _read_pcm16(path: str) -> tuple[np.ndarray, int] | None:
    """Read a plain 16-bit WAV (a millisecond, where FFmpeg takes ten); None for anything else."""
    try:
        with wave.open(path, "rb") as file:
            channels, width, rate, size = file.getparams()[:4]
            if width != 2 or _is_odd(rate):
                return None
            data = file.readframes(size)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"'{path}': no such sound file") from error
    except (wave.Error, EOFError, OSError):
        return None
    data = data[: len(data) // (2 * channels) * (2 * channels)]
    samples = np.frombuffer(data, "<i2").astype(np.float32) / 32768.0
    return (samples if channels == 1 else samples.reshape(-1, channels).mean(axis=1)), rate


def decode_sound(container: av.container.InputContainer, origin: float | None = None) -> np.ndarray:
    """Decode the first sound stream of an open file.

    Args:
        container: a file with sound.
        origin: the time in seconds, on the file's clock, of the first sample to return: later sound
            is preceded by zeros, earlier sound left out, gaps are zeros. None: all sound, one after
            the other.

    Returns:
        float32 (S,) at 16 kHz.
    """
    rate, chunks = decode_in_chunks(container, container.streams.audio[0], origin)
    return resample(np.concatenate([np.zeros(0, np.float32), *chunks]), rate)


def decode_in_chunks(
    container: av.container.InputContainer,
    stream: av.audio.stream.AudioStream,
    origin: float | None = None,
) -> tuple[int, Iterator[np.ndarray]]:
    """Decode a sound stream bit by bit; arguments as in `decode_sound`.

    Returns:
        The rate in Hz, and float32 (n,) pieces, one after the other, of a second at most where they
        fill a gap.
    """
    rate = SAMPLE_RATE if _is_odd(stream.rate) else stream.rate
    resampler = av.AudioResampler(format="fltp", rate=rate)
    return rate, _placed(_resampled(container.decode(stream), resampler), rate, origin)


def _placed(
    frames: Iterable[av.AudioFrame], rate: int, origin: float | None
) -> Iterator[np.ndarray]:
    length, begun = 0, False
    for frame in frames:
        samples = frame.to_ndarray().mean(axis=0)
        start = length
        if origin is not None and frame.time is not None:
            start = round((frame.time - origin) * rate)
        if begun and abs(start - length) <= _CLOCK_JITTER * rate:
            start = length
        begun = True
        while length < start:
            gap = min(start - length, rate)
            yield np.zeros(gap, np.float32)
            length += gap
        samples = samples[length - start :]
        yield samples
        length += len(samples)


def _resampled(
    frames: Iterable[av.AudioFrame], resampler: av.AudioResampler
) -> Iterator[av.AudioFrame]:
    for frame in frames:
        yield from resampler.resample(frame)
    yield from resampler.resample(None)


def _is_odd(rate: int) -> bool:
    """torchaudio's filter grows with rate / gcd: FFmpeg resamples such rates, on the way."""
    return math.gcd(rate, SAMPLE_RATE) < 25


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """Bring float32 (S,) samples from `rate` to 16 kHz, with the filter known as "kaiser_best"."""
    if rate == SAMPLE_RATE or not len(samples):
        return samples
    import torch  # here, because the two take a second to load and data sets come at 16 kHz
    from torchaudio.functional import resample as sinc_resample

    return sinc_resample(
        torch.from_numpy(np.ascontiguousarray(samples)),
        rate,
        SAMPLE_RATE,
        resampling_method="sinc_interp_kaiser",
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        beta=14.769656459379492,
    ).numpy()


def seconds_at(audio: np.ndarray, times: Sequence[float]) -> np.ndarray:
    """Cut out the second that starts at each time; zeros where there is no sound.

    Args:
        audio: float32 (S,) at 16 kHz, from time 0 on.
        times: T times in seconds.

    Returns:
        float32 (T, 16000).
    """
    return _cut(audio, [round(time * SAMPLE_RATE) for time in times])


def released_examples(audio: np.ndarray, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Cut out what the released OV-AVSS pairs with frames: with frame i, the 0.96 s example i.

    Args:
        audio: float32 (S,) at 16 kHz.
        indices: T places of frames in their video, from 0.

    Returns:
        float32 (T, 16000), the second from 0.96 i on, whose first 96 log-mel windows are example i;
        and bool (T,), False where the sound ends before the example does (the released code then
        uses zeros in log-mel space).
    """
    starts = np.asarray(indices, np.int64) * EXAMPLE_HOP
    return _cut(audio, starts), starts + EXAMPLE_SAMPLES <= len(audio)


def _cut(audio: np.ndarray, starts: Iterable[int]) -> np.ndarray:
    starts = list(starts)
    seconds = np.zeros((len(starts), SAMPLE_RATE), np.float32)
    for second, start in zip(seconds, starts, strict=True):
        first, last = max(start, 0), min(start + SAMPLE_RATE, len(audio))
        if first < last:
            second[first - start : last - start] = audio[first:last]
    return seconds
