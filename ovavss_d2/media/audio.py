"""Audio of files, as 16 kHz mono, on the clock of the video that it belongs to.

Shapes: S samples.
"""

import functools
import itertools
import math
import os
import wave
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import av
import numpy as np
import torch

from ovavss_d2.media.audio_format import SAMPLE_RATE

# FFmpeg selects a format by a file's content. Formats that open further files are not read.
_PLAYLISTS = {"concat", "dash", "hls", "image2", "imf", "rtp", "rtsp", "sdp", "webm_dash_manifest"}
_FORMATS = ",".join(sorted(av.formats_available - _PLAYLISTS))
_CLOCK_JITTER = 0.005  # seconds by which a frame may miss the end of the one before it
_FILTER_REACH = 1024  # samples; more than half the length of the resampling filter, up to 192 kHz


@contextmanager
def open_container(path: str | os.PathLike, kind: str) -> Iterator[av.container.InputContainer]:
    """Open a file of a kind ("audio" or "video"), and turn FFmpeg's errors in the block into one
    line.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: FFmpeg cannot read it.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"'{path}': no such {kind} file")
    try:
        # Without "file:", the part of a name before a colon would be a protocol.
        with av.open(f"file:{path}", options={"format_whitelist": _FORMATS}) as container:
            yield container
    except av.FFmpegError as error:
        raise ValueError(f"'{path}': not a readable {kind} file ({error.strerror})") from error


@dataclass(frozen=True)
class AudioTrack:
    """An audio track of a file."""

    path: str
    origin: float = 0.0  # time on the file's clock that becomes time 0
    index: int = 0  # among the file's audio tracks

    def seconds(self) -> Iterator[np.ndarray]:
        """Decode second by second: float32 (16000,) at 16 kHz, the last one shorter.

        Raises:
            ValueError: it cannot be read.
        """
        with open_container(self.path, "audio") as container:
            stream = select_audio_stream(container, self.path, self.index)
            rate = SAMPLE_RATE if _is_odd(stream.rate) else stream.rate
            resampler = av.AudioResampler(format="fltp", rate=rate)
            frames = itertools.chain(container.decode(stream), [None])  # None: the remainder
            parts = itertools.chain.from_iterable(map(resampler.resample, frames))
            yield from _resampled_seconds(_contiguous(parts, rate, self.origin), rate)

    def read(self) -> np.ndarray:
        """Decode all of it: float32 (S,) at 16 kHz."""
        return _joined(self.seconds())

    def duration(self) -> float:
        """Duration in seconds; measured by decoding if the file does not state it."""
        with open_container(self.path, "audio") as container:
            if container.duration:
                return container.duration / av.time_base
        return sum(map(len, self.seconds())) / SAMPLE_RATE


def open_audio(path: str | os.PathLike) -> AudioTrack:
    """Open the first audio track of a file; its first sample has time 0.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it cannot be read, or has no audio.
    """
    path = os.fspath(path)
    with open_container(path, "audio") as container:
        stream = select_audio_stream(container, path, 0)
        return AudioTrack(path, origin=float((stream.start_time or 0) * (stream.time_base or 0)))


def read_audio(path: str | os.PathLike) -> np.ndarray:
    """Read the audio of a file.

    16-bit samples are divided by 32768, channels averaged; another rate is resampled to 16 kHz.

    Returns:
        float32 (S,) in [-1, 1] at 16 kHz, the same as `open_audio(path).read()`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it cannot be read, or has no audio.
    """
    pcm = _read_pcm16(os.fspath(path))
    if pcm is None:
        return open_audio(path).read()
    samples, rate = pcm
    return samples if rate == SAMPLE_RATE else _joined(_resampled_seconds([samples], rate))


def _read_pcm16(path: str) -> tuple[np.ndarray, int] | None:
    """Read a plain 16-bit WAV file in a tenth of FFmpeg's time; None for any other file."""
    try:
        with wave.open(path, "rb") as file:
            channels, width, rate, size = file.getparams()[:4]
            if width != 2 or _is_odd(rate):
                return None
            data = file.readframes(size)
    except (wave.Error, EOFError, OSError):
        return None
    data = data[: len(data) // (2 * channels) * (2 * channels)]
    samples = np.frombuffer(data, "<i2").astype(np.float32) / 32768.0
    return (samples if channels == 1 else samples.reshape(-1, channels).mean(axis=1)), rate


def select_audio_stream(
    container: av.container.InputContainer, path: str, index: int
) -> av.audio.stream.AudioStream:
    """An audio stream of an open file, by its index among them.

    Raises:
        ValueError: the stream does not exist, or has no decoder.
    """
    streams = container.streams.audio
    if not streams:
        raise ValueError(f"'{path}': has no audio track")
    if not 0 <= index < len(streams):
        raise ValueError(
            f"'{path}': has {len(streams)} audio tracks, numbered from 0; {index} was requested"
        )
    check_decoder(streams[index], path)
    return streams[index]


def check_decoder(stream: av.stream.Stream, path: str) -> None:
    """Raise a ValueError if this FFmpeg has no decoder for a stream."""
    if stream.codec_context is None:
        raise ValueError(
            f"'{path}': this FFmpeg has no decoder for its {stream.type}; "
            "convert it to another format"
        )


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """Resample float32 (S,) from `rate` to 16 kHz with the filter known as "kaiser_best"."""
    if rate == SAMPLE_RATE or not len(samples):
        return samples
    return _resampler(rate)(torch.from_numpy(np.ascontiguousarray(samples))).numpy()


@functools.lru_cache(maxsize=8)
def _resampler(rate: int) -> torch.nn.Module:
    from torchaudio.transforms import Resample  # here: audio at 16 kHz needs no torchaudio

    return Resample(
        rate,
        SAMPLE_RATE,
        resampling_method="sinc_interp_kaiser",
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        beta=14.769656459379492,
    )


def _is_odd(rate: int) -> bool:
    """Whether FFmpeg resamples this rate: torchaudio's filter grows with rate / gcd."""
    return math.gcd(rate, SAMPLE_RATE) < 25


def _contiguous(frames: Iterable[av.AudioFrame], rate: int, origin: float) -> Iterator[np.ndarray]:
    """Mono pieces that follow each other from time `origin` on, at most a second of zeros each.

    Earlier audio is dropped; gaps are filled with zeros.
    """
    length = 0
    for i, frame in enumerate(frames):
        samples = frame.to_ndarray().mean(axis=0)
        start = length if frame.time is None else round((frame.time - origin) * rate)
        if i > 0 and abs(start - length) <= _CLOCK_JITTER * rate:
            start = length
        while length < start:
            gap = min(start - length, rate)
            yield np.zeros(gap, np.float32)
            length += gap
        samples = samples[length - start :]
        yield samples
        length += len(samples)


def _resampled_seconds(pieces: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Resample pieces at `rate` to seconds at 16 kHz.

    The result equals `resample` of the whole: each second is resampled together with as much audio
    on both sides as the filter reaches.
    """
    step = rate // math.gcd(rate, SAMPLE_RATE)  # input samples that give whole output samples
    reach = math.ceil(_FILTER_REACH / step) * step
    before = np.zeros(reach, np.float32)
    seconds, following = itertools.tee(_regrouped(pieces, rate))
    next(following, None)
    for second, after in itertools.zip_longest(seconds, following, fillvalue=before[:0]):
        around = np.concatenate([before, second, after[:reach]])
        first = reach * SAMPLE_RATE // rate
        length = math.ceil(len(second) * SAMPLE_RATE / rate)
        yield resample(around, rate)[first : first + length]
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


def _joined(pieces: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.float32), *pieces])
