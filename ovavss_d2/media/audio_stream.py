"""Sound as a stream: a second at a time from a file of any length, on the clock of its pictures.

Shapes: S samples.
"""

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import av
import numpy as np

from ovavss_d2.media.audio import decode_in_chunks, open_container, resample
from ovavss_d2.media.audio_format import EXAMPLE_HOP, EXAMPLE_SAMPLES, SAMPLE_RATE

_FILTER_REACH = 1024  # samples: farther than the resampling filter sees, up to 192 kHz


@dataclass(frozen=True)
class Sound:
    """A sound track of a file.

    Attributes:
        path: the file.
        origin: the time on the file's clock that is heard with the first picture.
        track: which of its sound tracks, from 0.
    """

    path: str
    origin: float = 0.0
    track: int = 0

    def seconds(self) -> Iterator[np.ndarray]:
        """Decode it: float32 (16000,) at 16 kHz, second after second, the last one shorter.

        Raises:
            ValueError: it cannot be read.
        """
        with open_container(self.path, "sound") as container:
            stream = sound_stream(container, self.path, self.track)
            rate, chunks = decode_in_chunks(container, stream, self.origin)
            yield from _resampled_seconds(chunks, rate)

    def read(self) -> np.ndarray:
        """Decode it whole: float32 (S,) at 16 kHz."""
        return np.concatenate([np.zeros(0, np.float32), *self.seconds()])

    def duration(self) -> float:
        """Seconds; counted where the file does not say."""
        with open_container(self.path, "sound") as container:
            if container.duration:
                return container.duration / av.time_base
        return sum(map(len, self.seconds())) / SAMPLE_RATE


def sound_stream(
    container: av.container.InputContainer, path: str, track: int
) -> av.audio.stream.AudioStream:
    """A sound track of an open file.

    Raises:
        ValueError: there is no such track, or nothing to decode it with.
    """
    tracks = container.streams.audio
    if not tracks:
        raise ValueError(f"'{path}': holds no sound")
    if not 0 <= track < len(tracks):
        raise ValueError(f"'{path}': has {len(tracks)} sound tracks, from 0; {track} was asked for")
    check_decoder(tracks[track], path)
    return tracks[track]


def check_decoder(stream: av.stream.Stream, path: str) -> None:
    """Refuse a stream in one line that this FFmpeg has no decoder for."""
    if stream.codec_context is None:
        raise ValueError(
            f"'{path}': this FFmpeg has no decoder for its {stream.type}; convert it to another"
        )


def open_sound(path: str | os.PathLike) -> Sound:
    """Look into a sound file, or a video's sound.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or holds no sound.
    """
    path = os.fspath(path)
    with open_container(path, "sound") as container:
        stream = sound_stream(container, path, 0)
        return Sound(path, origin=float((stream.start_time or 0) * (stream.time_base or 0)))


def _resampled_seconds(chunks: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Cut chunks at `rate` into seconds at 16 kHz; they are what `resample` makes of the whole,
    for each second is resampled with as much sound around it as the filter reaches."""
    step = rate // math.gcd(rate, SAMPLE_RATE)  # input samples that become whole output samples
    reach = math.ceil(_FILTER_REACH / step) * step
    before = np.zeros(reach, np.float32)
    for second, after in _with_next(_regrouped(chunks, rate)):
        around = np.concatenate([before, second, after[:reach]])
        first = reach * SAMPLE_RATE // rate
        length = math.ceil(len(second) * SAMPLE_RATE / rate)
        yield resample(around, rate)[first : first + length]
        before = np.concatenate([before, second])[-reach:]


def _regrouped(chunks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    kept, length = [], 0
    for chunk in chunks:
        kept.append(chunk)
        length += len(chunk)
        if length >= size:
            joined = np.concatenate(kept)
            whole = length // size * size
            yield from np.split(joined[:whole], whole // size)
            kept, length = [joined[whole:]], length - whole
    if length:
        yield np.concatenate(kept)


def _with_next(items: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    item = next(items, None)
    while item is not None:
        following = next(items, None)
        yield item, np.zeros(0, np.float32) if following is None else following
        item = following


class Listener:
    """Cuts seconds out of a stream of sound, at places that never fall; what lies before the last
    place is forgotten."""

    def __init__(self, pieces: Iterable[np.ndarray]):
        """
        Args:
            pieces: float32 (n,) at 16 kHz, one after the other, from time 0 on.
        """
        self._pieces = iter(pieces)
        self._kept = np.zeros(0, np.float32)
        self._first = 0  # the place of the first kept sample

    def second_from(self, start: int) -> tuple[np.ndarray, int]:
        """Hear the second from sample `start` on.

        Returns:
            float32 (16000,), zeros where there is no sound, and how many samples of it are sound.
        """
        self._read_until(start + SAMPLE_RATE)
        forgotten = min(max(start - self._first, 0), len(self._kept))
        self._kept, self._first = self._kept[forgotten:], self._first + forgotten
        second = np.zeros(SAMPLE_RATE, np.float32)
        offset = max(self._first - start, 0)
        heard = self._kept[: max(SAMPLE_RATE - offset, 0)]
        second[offset : offset + len(heard)] = heard
        return second, len(heard)

    def _read_until(self, end: int) -> None:
        while self._first + len(self._kept) < end:
            piece = next(self._pieces, None)
            if piece is None:
                return
            self._kept = np.concatenate([self._kept, piece])


class HeardFrame(NamedTuple):
    """A frame with what is heard at its time.

    Attributes:
        time: seconds since the first frame.
        image: uint8 (H, W, 3) RGB.
        sound: float32 (16000,), the second that starts at `time`.
        valid: False under the released pairing where the sound ends too early.
    """

    time: float
    image: np.ndarray
    sound: np.ndarray
    valid: bool


def heard_frames(
    frames: Iterable[tuple[float, np.ndarray]], sound: Iterable[np.ndarray], pairing: str = "time"
) -> Iterator[HeardFrame]:
    """Pair frames with sound, both read only as far as needed.

    Args:
        frames: ascending times in seconds, with images.
        sound: float32 pieces at 16 kHz, one after the other, from time 0 on.
        pairing: "time" or "released", see MODEL.AUDIO.PAIRING.
    """
    listener = Listener(sound)
    for time, image in frames:
        if pairing == "released":  # made for 1 frame a second
            second, heard = listener.second_from(round(time) * EXAMPLE_HOP)
            yield HeardFrame(time, image, second, heard >= EXAMPLE_SAMPLES)
        else:
            second, _ = listener.second_from(round(time * SAMPLE_RATE))
            yield HeardFrame(time, image, second, True)
