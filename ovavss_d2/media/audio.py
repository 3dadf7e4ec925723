"""Audio of files, as mono at 16 kHz or another rate, on the clock of the video that it belongs to.

Shapes: S samples.
"""

import gc
import itertools
import os
import wave
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import av
import numpy as np

from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.media.clock import timed
from ovavss_d2.media.resampling import check_rate, joined, resampled_seconds

# FFmpeg selects a format by a file's content. Formats that open further files are not read.
_PLAYLISTS = {"concat", "dash", "hls", "image2", "imf", "rtp", "rtsp", "sdp", "webm_dash_manifest"}
_FORMATS = ",".join(sorted(av.formats_available - _PLAYLISTS))
_CLOCK_JITTER = 0.005  # seconds by which a frame may miss the end of the one before it
_LOUDEST = np.float64(2**31)  # samples of float files are at most scaled like 32-bit integers
_LONGEST = 6 * 3600  # seconds of audio that are read at once
# Options of FFmpeg: only times that a file states. The others are wrong after a change of the rate.
STATED_TIMES = {"fflags": "nofillin"}


@contextmanager
def open_container(
    path: str | os.PathLike, kind: str, options: dict[str, str] | None = None
) -> Iterator[av.container.InputContainer]:
    """Open a file of a kind ("audio" or "video") with FFmpeg's options, and turn its errors in the
    block into one line.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: FFmpeg cannot read it.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"'{path}': no such {kind} file")
    gc.collect(1)  # closed files keep the threads of their decoders until then
    try:
        options = {"format_whitelist": _FORMATS} | (options or {})
        # Without "file:", the part of a name before a colon would be a protocol.
        with av.open(f"file:{path}", options=options, metadata_errors="replace") as container:
            yield container
    except av.FFmpegError as error:
        raise ValueError(f"'{path}': not a readable {kind} file ({error.strerror})") from error


@dataclass(frozen=True)
class AudioTrack:
    """An audio track of a file."""

    path: str
    origin: float = 0.0  # time on the file's clock that becomes time 0
    index: int = 0  # among the file's audio tracks

    def seconds(self, rate: int = SAMPLE_RATE) -> Iterator[np.ndarray]:
        """Decode second by second: float32 (rate,), the last one shorter.

        Raises:
            ValueError: it cannot be read.
        """
        with open_container(self.path, "audio", STATED_TIMES) as container:
            stream = select_audio_stream(container, self.path, self.index)
            own = stream.rate
            frames = decode_audio(container, stream, self.path, rate=own, format="flt")
            yield from resampled_seconds(_contiguous(frames, own, self.origin), own, rate)

    def read(self, rate: int = SAMPLE_RATE) -> np.ndarray:
        """Decode all of it: float32 (S,) at `rate` Hz.

        Raises:
            ValueError: it cannot be read, or is longer than 6 hours.
        """
        seconds = list(itertools.islice(self.seconds(rate), _LONGEST + 1))
        if len(seconds) > _LONGEST:
            raise ValueError(f"'{self.path}': has more than 6 hours of audio; use a part of it")
        return joined(seconds)

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


def read_audio(path: str | os.PathLike, rate: int = SAMPLE_RATE) -> np.ndarray:
    """Read the audio of a file.

    16-bit samples are divided by 32768, channels averaged; another rate is resampled.

    Returns:
        float32 (S,) in [-1, 1] at `rate` Hz, the same as `open_audio(path).read(rate)`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it cannot be read, or has no audio.
    """
    pcm = _read_pcm16(os.fspath(path))
    if pcm is None:
        return open_audio(path).read(rate)
    samples, own = pcm
    check_rate(own, f"'{path}': the sample rate")
    return samples if own == rate else joined(resampled_seconds([samples], own, rate))


def _read_pcm16(path: str) -> tuple[np.ndarray, int] | None:
    """Read a whole 16-bit WAV file in a tenth of FFmpeg's time; None for any other file."""
    try:
        with wave.open(path, "rb") as file:
            channels, width, rate, size = file.getparams()[:4]
            if width != 2:
                return None
            data = file.readframes(size)
    except (wave.Error, EOFError, OSError, RuntimeError):  # RuntimeError: a chunk beyond the file
        return None
    if not data or len(data) != size * channels * width:  # truncated, or of unknown size
        return None
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
    stream = streams[index]
    check_decoder(stream, path)
    check_rate(stream.rate, f"'{path}': the sample rate")
    _set_plain_layout(stream.codec_context)
    return stream


def _set_plain_layout(context: av.AudioCodecContext) -> None:
    """Remove an unusual order of the channels before decoding: PyAV would free it twice."""
    layout = context.layout
    if layout.nb_channels:
        unusual = " channels (" in layout.name
        context.layout = f"{layout.nb_channels} channels" if unusual else layout.name


def check_decoder(stream: av.stream.Stream, path: str) -> None:
    """Raise a ValueError if this FFmpeg has no decoder for a stream."""
    if stream.codec_context is None:
        raise ValueError(
            f"'{path}': this FFmpeg has no decoder for its {stream.type}; "
            "convert it to another format"
        )


def decode_audio(
    container: av.container.InputContainer,
    stream: av.audio.stream.AudioStream,
    path: str,
    *,
    rate: int,
    format: str,
    layout: str | None = None,
) -> Iterator[av.AudioFrame]:
    """Decode a stream, whose parameters may change, to frames of one rate and sample format.

    Args:
        container: the open file.
        stream: see `select_audio_stream`.
        path: of the file, for errors.
        rate: samples per second of the result.
        format: FFmpeg's name of the sample format of the result.
        layout: FFmpeg's name of the channel layout of the result; None: it may change.
    """
    runs = itertools.groupby(_decoded(container, stream), _parameters)
    for (frame_rate, _, _), run in runs:
        check_rate(frame_rate, f"'{path}': the sample rate")
        resampler = av.AudioResampler(format=format, layout=layout, rate=rate)
        for frame in itertools.chain(run, [None]):  # None: the remainder
            yield from filter(None, resampler.resample(frame))


def _decoded(
    container: av.container.InputContainer, stream: av.audio.stream.AudioStream
) -> Iterator[av.AudioFrame]:
    for frame in container.decode(stream):
        if frame.pts is None:
            frame.pts = frame.dts  # all that AVI states
        yield frame


def _parameters(frame: av.AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.format.name, frame.layout.name


def finite(samples: np.ndarray) -> np.ndarray:
    """Replace samples of damaged float audio (NaN, infinite, or beyond any scale) by zeros."""
    return np.where(np.abs(samples) <= _LOUDEST, samples, 0)


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """The mean of a frame's channels, float32 (n,); the frame's format is "flt".

    It is not planar: with 8 or more planes PyAV reads beyond them.
    """
    samples = finite(frame.to_ndarray()[0])
    channels = frame.layout.nb_channels
    return samples if channels == 1 else samples.reshape(-1, channels).mean(axis=1)


def _contiguous(frames: Iterable[av.AudioFrame], rate: int, origin: float) -> Iterator[np.ndarray]:
    """Mono pieces that follow each other from time `origin` on, at most a second of zeros each.

    Earlier audio is dropped; gaps are filled with zeros.
    """
    length = 0
    for i, (time, frame) in enumerate(timed(frames, origin)):
        samples = _mono(frame)
        start = round((time - origin) * rate)
        if i > 0 and abs(start - length) <= _CLOCK_JITTER * rate:
            start = length
        while length < start:
            gap = min(start - length, rate)
            yield np.zeros(gap, np.float32)
            length += gap
        samples = samples[length - start :]
        yield samples
        length += len(samples)
